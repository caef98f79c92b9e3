"""Calibration and accuracy, against answers that are known; no torch needed."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate import calibration_error, fit_temperature, measure, softmax

PHOTOS, CLASSES = 20_000, 4


def drawn(temperature: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right as often as their softmax at this temperature says."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (PHOTOS, CLASSES)).astype(np.float32)
    sums = softmax(logits, temperature).cumsum(axis=1)
    targets = (random.random((PHOTOS, 1)) > sums).sum(axis=1)
    return logits, targets.clip(0, CLASSES - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_that_the_answers_were_drawn_with_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_what_is_as_sure_as_it_is_right_has_no_calibration_error(temperature: float) -> None:
    logits, targets = drawn(temperature)
    assert calibration_error(logits, targets, temperature) < 0.015


def test_what_is_too_sure_is_wrong_by_as_much() -> None:
    logits = np.zeros((100, 2), np.float32)
    logits[:, 0] = 50
    targets = np.array([0] * 70 + [1] * 30)
    assert calibration_error(logits, targets, 1.0) == pytest.approx(0.3, abs=1e-6)


def test_figures_of_a_class_come_from_its_row_and_its_column() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2, 2]]
    figures = measure(logits, np.array([0, 0, 0, 1, 2, 2]))
    assert figures.confusion.tolist() == [[2, 1, 0], [0, 0, 1], [0, 0, 2]]
    assert figures.top1 == pytest.approx(4 / 6)
    assert figures.recall == pytest.approx([2 / 3, 0, 1])
    assert figures.precision == pytest.approx([1, 0, 2 / 3])
