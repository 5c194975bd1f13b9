"""Reliability against a loop, and temperatures that are known beforehand."""

import numpy as np
import pytest
import torch
from torch import nn

from xaiprune.measure.calibration_error import Tempered, best_temperature, expected_calibration_error, reliability


@pytest.fixture
def sure():
    """Logits whose softmax says how likely each label is, and labels drawn by it."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 4, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_reliability_is_what_a_loop_counts(sure, bins):
    logits, labels = (values[:500] for values in sure)
    probabilities = logits.softmax(1).numpy()
    rows, error = reliability(logits, labels, bins), 0.0
    found = {round(row["low"] * bins): row for row in rows}
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, p in enumerate(probabilities) if low < p.max() <= high]
        if not inside:
            assert number not in found
            continue
        right = np.mean([probabilities[i].argmax() == labels[i].item() for i in inside])
        confidence = np.mean([probabilities[i].max() for i in inside])
        row = found[number]
        assert (row["share"], row["accuracy"], row["confidence"]) == pytest.approx(
            (len(inside) / 500, right, confidence)
        )
        error += len(inside) / 500 * abs(right - confidence)
    assert expected_calibration_error(logits, labels, bins) == pytest.approx(error)


@pytest.mark.parametrize("wrong", [0.3, 1.0, 5.0])
def test_the_temperature_that_was_put_in_is_found(sure, wrong):
    logits, labels = sure
    assert best_temperature(wrong * logits, labels) == pytest.approx(wrong, rel=0.03)
    repaired = expected_calibration_error(wrong * logits / best_temperature(wrong * logits, labels), labels)
    assert repaired < 0.01
    if wrong != 1:
        assert expected_calibration_error(wrong * logits, labels) > 5 * repaired


def test_a_tempered_model_answers_alike_and_is_less_sure():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(5, 1, 2, 2)
    cool = Tempered(model, 2.0)
    assert torch.equal(cool(images), model(images) / 2)
    assert torch.equal(cool(images).argmax(1), model(images).argmax(1))
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        Tempered(model, 0)


def test_bad_input_is_named():
    logits, labels = torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        reliability(logits, labels[:2])
    with pytest.raises(ValueError, match="N > 0"):
        best_temperature(logits[:0], labels[:0])
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability(logits, labels, 0)
