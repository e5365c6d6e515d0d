"""The measured range: where pictures stop changing, whatever the vector's length."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from steering.backbones import Backbone
from steering.concepts import ConceptVector, Progress
from steering.errors import Cancelled
from steering.saturation import STRENGTHS, _reached, saturate


def test_progress_then_a_vector_with_its_range(backbone: Backbone, vector: ConceptVector):
    *progress, measured = saturate(backbone, vector, seeds=(0,))
    assert all(isinstance(p, Progress) for p in progress) and progress[-1].done == progress[-1].total
    advice = measured.advice
    assert 0 < advice["strength"] <= advice["range"][1] == -advice["range"][0] <= STRENGTHS[-1]
    moved = [row["moved"] for row in measured.recommended["measured"]]
    assert moved[0] == 0 and moved == sorted(moved) and moved[-1] > 0


def test_a_vector_twice_as_long_needs_half_the_strength():
    changed = np.array([0, 2, 4, 8, 16, 20, 20, 20.0])
    longer = np.interp(2 * np.array(STRENGTHS), STRENGTHS, changed)
    assert _reached(longer, 0.5) == pytest.approx(_reached(changed, 0.5) / 2, rel=0.1)
    assert _reached(np.zeros(8), 0.5) == STRENGTHS[-1]


def test_it_can_be_stopped(backbone: Backbone, vector: ConceptVector):
    stop = threading.Event()
    run = saturate(backbone, vector, stop=stop)
    next(run)
    stop.set()
    with pytest.raises(Cancelled):
        list(run)
