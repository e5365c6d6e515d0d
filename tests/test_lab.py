"""Train live without a browser: the page's limits, what is streamed, and how a training ends."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
import torch

from steering.dae import training
from steering.dae.data import load
from steering.dae.model import DAE
from steering.errors import RudderError
from steering.ui import lab, notices
from steering.ui.session import Session

GOOD = {"dataset": "mixture", "n": 6, "p": 10, "sigma": 0.2, "lam": 0.01, "duplicates": 1}


def sent(**changes) -> dict:
    return {"ticket": 1, "side": "mem", "settings": {**GOOD, **changes}}


@pytest.fixture(autouse=True)
def tells_often(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "EVERY", 0.01)  # these trainings end within the usual quarter second


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p": 0}, "p = 0"),
        ({"p": 4096}, "p = 4096"),
        ({"n": 10**7}, "outside what the page trains"),
        ({"n": 2.5}, "whole number"),
        ({"sigma": math.nan}, "not a number"),
        ({"sigma": "0.2"}, "not a number"),
        ({"lam": -1}, "outside"),
        ({"duplicates": True}, "not a number"),
        ({"dataset": "../../etc"}, "data set"),
        ({"dataset": None}, "reload"),
    ],
)
def test_what_the_page_does_not_train_is_said(change: dict, says: str):
    with pytest.raises(RudderError, match=says):
        next(lab.trained(Session(), sent(**change)))


@pytest.mark.parametrize("hostile", [{}, {"ticket": 1}, {"ticket": 1, "side": "x"}, {"ticket": "1", "side": "mem"}])
def test_hostile_events_get_one_sentence(hostile: dict):
    with pytest.raises(RudderError, match="reload"):
        next(lab.trained(Session(), hostile))


def test_steps_are_bounded_whatever_is_sent():
    settings = lab.asked_settings({**GOOD, "steps": 10**6, "rate": 9.0})
    assert settings.steps == lab.STEPS and settings.seed == 1 and settings.rate == 0


def test_a_link_s_seed_trains_the_same_again_and_a_wrong_one_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab, "STEPS", 20)
    weights = []
    for seed in (7, 7, 8):
        *_, last = lab.trained(Session(), sent(seed=seed))
        assert last["seed"] == seed and last["whole"]
        weights.append(last["weights"])
    assert weights[0] == weights[1] != weights[2]
    for seed in (-1, 2.5, "7", True, 2**32):
        with pytest.raises(RudderError, match="seed"):
            lab.asked_settings({**GOOD, "seed": seed})


def test_a_short_training_streams_what_the_browser_reads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab, "STEPS", 40)
    first, *_, last = lab.trained(Session(), sent())
    assert first["phase"] == "running" and last["phase"] == "done" and "40 steps" in last["text"]
    rows = np.frombuffer(base64.b64decode(last["weights"]), "<f2")
    classes = len(load("mixture").classes)
    assert len(rows) == 10 * 1024 + classes * 10 and np.isfinite(rows).all()
    lengths = np.linalg.norm(rows[: 10 * 1024].reshape(10, 1024).astype(float), axis=1)
    assert list(lengths) == sorted(lengths, reverse=True)
    assert last["columns"][0][0] == pytest.approx(lengths[0], rel=1e-2)


def test_stop_ends_it_and_another_visitor_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab, "PAUSE", 0.0)
    one, other = Session(), Session()
    mine, theirs = lab.trained(one, sent()), lab.trained(other, sent())
    for run in (mine, theirs):
        next(run), next(run)
    one.lab.outdate(2)
    assert list(mine) == []
    assert next(theirs)["phase"] == "running"
    theirs.close()  # as when its visitor leaves
    assert not other.lab._running and not one.lab._running


def test_a_second_training_outdates_the_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab, "PAUSE", 0.0)
    owner = Session()
    older, newer = lab.trained(owner, sent()), lab.trained(owner, {**sent(), "ticket": 2})
    next(older), next(newer)
    assert list(older) == [] and next(newer)["phase"] == "running"
    newer.close()


def test_stop_also_ends_a_training_that_waits_in_the_queue_and_none_after_it():
    owner = Session()
    waiting, wrong = lab.trained(owner, sent()), lab.trained(owner, sent(p=0))
    owner.lab.outdate(2)
    for one in (waiting, wrong):
        assert list(notices.guarded(one, lambda told: told)) == [], "not even what is wrong with it"
    later = lab.trained(owner, {**sent(), "ticket": 2})
    assert next(later)["phase"] == "running"
    later.close()


def test_time_runs_out_and_keeps_what_was_learned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab, "SECONDS", 0.0)
    *_, last = lab.trained(Session(), sent())
    assert last["phase"] == "done" and "limit" in last["text"] and last["weights"]


def test_the_theorems_condition_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab, "STEPS", 3)
    *_, last = lab.trained(Session(), sent(lam=900))
    assert "eigenvalue" in last["text"] and last["kind"] == "is-warning"


def test_divergence_becomes_a_notice(monkeypatch: pytest.MonkeyPatch):
    def diverged(*_):
        raise RudderError("Training diverged at step 3: lower the step size.")
        yield

    monkeypatch.setattr(lab, "train", diverged)
    *_, last = notices.guarded(lab.trained(Session(), sent()), lambda told: told)
    assert "diverged" in last["text"] and last["kind"] == "error"


def test_regime_by_what_is_stored():
    x = torch.eye(4, 1024)
    encoder = x.T.clone()
    columns, regime = lab._columns(DAE(encoder, encoder), x)
    assert regime == "memorises" and columns == [[1.0, 1.0]] * 4
    mixed = torch.nn.functional.normalize(x.sum(0, keepdim=True).T, dim=0)
    assert lab._columns(DAE(mixed, mixed), x)[1] == "generalises"


def test_only_what_is_stored_makes_a_hybrid():
    """Repeated pictures alone do not: the two have to be columns, and hardly another one."""
    x = torch.eye(40, 1024)
    for columns, regime in (
        ([0, 1], "hybrid"),
        ([0], "generalises"),
        ([5, 6], "generalises"),
        (range(40), "memorises"),
    ):
        encoder = x[list(columns)].T.clone()
        assert lab._columns(DAE(encoder, encoder), x, repeated=2)[1] == regime
