"""The tab that says why memories resist: the page computes in the browser, only Train live comes here."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import torch

from ..dae import data
from ..dae.measures import LIVE, STORED, class_representations
from ..dae.model import DAE
from ..dae.theory import theorem_condition
from ..dae.training import Settings, Step, train
from ..errors import RudderError
from . import notices
from .documents import TOY
from .session import Session, ticket_of, unless_stopped

SIDES = ("mem", "gen")
LIMITS = {"n": (1, 10_000), "p": (1, 200), "sigma": (0, 2), "lam": (0, 1000), "duplicates": (1, 1000)}
STEPS = 4000
SECONDS = 120.0  # of one training; a visitor who wants more has the package
PAUSE = 0.4  # seconds between two messages, which carry all weights
TOLD = 8  # largest columns told with length and cosine
LAB = '<section class="rd-lab" aria-label="Why memories resist"></section>'
SCRIPT = "RudderLab.mount({ element, props, trigger, watch });  // it triggers 'train' and 'halt'"


def ready() -> bool:
    """Whether the snapshots are there; without them the page has no such tab."""
    return (TOY / "index.json").is_file()


def lab_panel() -> gr.HTML:
    """The tab's contents; what it shows is fetched from assets/dae (documents.py)."""
    return gr.HTML({}, html_template=LAB, js_on_load=SCRIPT, elem_id="rd-lab")


def asked_settings(sent: Any) -> Settings:
    """What the browser asks to train with, within the page's limits; RudderError for anything else."""
    if not isinstance(sent, dict) or not set(LIMITS) <= set(sent) or not isinstance(sent.get("dataset"), str):
        raise RudderError("The page sent no settings to train with: reload it.")
    values: dict[str, Any] = {}
    for key, (low, high) in LIMITS.items():
        value = sent[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RudderError(f"{key} is not a number: type one.")
        if not low <= value <= high:
            raise RudderError(
                f"{key} = {value:g} is outside what the page trains, {low:g} to {high:,g}: use the package for more."
            )
        values[key] = int(value) if value == int(value) else value
    return Settings(dataset=sent["dataset"], steps=STEPS, seed=sent.get("seed") or 1, **values)


def trained(session: Session, sent: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Train as asked, until done, stopped or out of time; yields what the page shows, a few times a second."""
    ticket, side = ticket_of(sent.get("ticket")), sent.get("side")
    head = {"ticket": ticket, "side": side}
    with session.lab.run(ticket) as stop:
        unless_stopped(stop)
        if side not in SIDES:
            raise RudderError("The page named no network to train: reload it.")
        settings = asked_settings(sent.get("settings"))
        pictures = data.load(settings.dataset)
        x = data.training_set(pictures, settings.n, settings.duplicates)
        yield {**head, "phase": "running", "text": "The first steps …"}
        warning = theorem_condition(x.numpy(), settings)
        started = last = time.monotonic()
        for step in train(x, settings):
            now = time.monotonic()
            if stop.is_set():
                return
            late = now - started > SECONDS
            if not (step.done or late) and now - last < PAUSE:
                continue
            last = now
            message = _message(step, pictures, settings)
            if step.done:
                took = f"Trained here: {step.step:,} steps in {now - started:.0f} s, loss {step.loss:.3g}."
                message |= {"phase": "done", "text": f"{took} {warning}".strip()}
            elif late:
                limit = f"Stopped after {SECONDS:.0f} s, the page's limit, at step {step.step:,} of {step.total:,}."
                message |= {"phase": "done", "text": limit}
            yield {**head, **message, "kind": "is-warning" if warning else ""}
            if late:
                return


def _message(step: Step, pictures: data.Pictures, settings: Settings) -> dict[str, Any]:
    """One moment of a training, weights included."""
    dae = step.dae.ordered()
    columns, regime = _columns(dae, pictures.train[: settings.n], data.REPEATED if settings.duplicates > 1 else 0)
    return {
        "phase": "running",
        "text": f"Step {step.step:,} of {step.total:,}, loss {step.loss:.3g}",
        "step": step.step,
        "loss": round(step.loss, 6),
        "p": dae.p,
        "tied": dae.tied,
        "columns": columns,
        "regime": regime,
        "seed": settings.seed,
        "whole": step.done,
        "weights": _packed(dae, pictures),
    }


def _columns(dae: DAE, x: torch.Tensor, repeated: int = 0) -> tuple[list[list[float]], str]:
    """[length, largest cosine to a picture of x [n, d]] of the largest columns, and the regime they make.

    "hybrid" when the first `repeated` pictures are stored, and of the others hardly one.
    """
    pictures = torch.nn.functional.normalize(x, dim=1)
    cosine, nearest = (pictures @ torch.nn.functional.normalize(dae.decoder, dim=0)).max(dim=0)
    is_picture = (dae.norms > LIVE * dae.norms.max()) & (cosine >= STORED)
    stored = nearest[is_picture].unique()
    rest = stored[stored >= repeated]
    share = len(stored) / len(x)
    told = zip(dae.norms[:TOLD].tolist(), cosine[:TOLD].tolist(), strict=True)
    regime = "memorises" if share >= 0.8 else "generalises" if share <= 0.1 else "between"
    if 0 < repeated < len(x) and len(stored) - len(rest) == repeated and len(rest) <= 0.1 * (len(x) - repeated):
        regime = "hybrid"
    return [[round(size, 4), round(value, 4)] for size, value in told], regime


def _packed(dae: DAE, pictures: data.Pictures) -> str:
    """The weights as the snapshots' files hold them (dae/snapshots.py), in base64."""
    parts = [dae.encoder.T] if dae.tied else [dae.encoder.T, dae.decoder.T]
    rows = [*parts, class_representations(dae, pictures)]
    return base64.b64encode(b"".join(row.contiguous().numpy().astype("<f2").tobytes() for row in rows)).decode()


def wire(lab: gr.HTML, session: gr.State, notice: gr.HTML) -> None:
    """Train live in a queue lane of its own, one training a visitor; stopping needs no place in the queue."""

    def on_train(event: gr.EventData, owner: Session) -> Iterator[Any]:
        sent = event._data if isinstance(event._data, dict) else {}
        failed = {"ticket": sent.get("ticket"), "side": sent.get("side"), "phase": "failed"}
        messages = ((message, gr.skip()) for message in trained(owner, sent))
        yield from notices.guarded(messages, lambda told: (failed, told))

    def on_halt(event: gr.EventData, owner: Session) -> None:
        sent = event._data if isinstance(event._data, dict) else {}
        owner.lab.outdate(ticket_of(sent.get("ticket")) + 1)

    begun = lab.train(
        on_train,
        session,
        [lab, notice],
        concurrency_id="lab",
        concurrency_limit=1,
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
    )
    begun.failure(None, None, None, js="() => RudderLab.lost()", api_visibility="private")
    lab.halt(on_halt, session, None, queue=False, trigger_mode="multiple", api_visibility="private")
