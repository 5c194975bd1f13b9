"""Controls of lesson 07: entropy over sizes against its pseudocode, and answers of networks that are judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from experiments import quantization_controls as controlled
from experiments.setting import WHOLE
from tests.quantize.test_quantize import IMAGES, skewed, small
from xaiprune import quantize
from xaiprune.data import Split
from xaiprune.measure import ACCURACY
from xaiprune.quantize import Config, Format


def by_hand(counts, edges, levels):
    """The reach of Migacz's pseudocode (*8-bit Inference with TensorRT*, slide 40), zeros smoothed before dividing."""
    found = []
    for stop in range(levels, len(counts) + 1):
        clipped, merged = counts[:stop].copy(), np.zeros(stop)
        clipped[-1] += counts[stop:].sum()
        for level in range(levels):
            first = level * (stop // levels)
            bins = range(first, stop if level == levels - 1 else first + stop // levels)
            filled = [place for place in bins if clipped[place]]
            for place in filled:
                merged[place] = sum(counts[place] for place in bins) / len(filled)
        smooth = [np.where(values == 0, 1e-4, values) for values in (clipped, merged)]
        found.append(stats.entropy(*smooth))
    return edges[levels + int(np.argmin(found))]


@pytest.mark.parametrize("levels", [16, 128])
@pytest.mark.parametrize("seed", range(3))
def test_entropy_of_sizes_is_migaczs_pseudocode(seed, levels):
    seen = skewed(seed)
    counts, edges = seen.counts.numpy(), seen.edges.numpy()
    reach = by_hand(counts[512:] + counts[:512][::-1], edges[512:], levels)
    assert abs(controlled.of_sizes(seen, levels)[1] - reach) <= 0.05 * reach


def test_the_grids_levels_are_those_that_sizes_have():
    seen = skewed(0)
    rules = controlled.RULES
    matched, migacz = (rules[f"entropy, {name}"].function for name in ("levels of the grid", "128 levels of sizes"))
    assert matched(seen, 4, "affine") == controlled.of_sizes(seen, 16)
    assert matched(seen, 7, "affine") == migacz(seen, 4, "affine")
    seen.update(torch.tensor([-1.0]))  # of values of both signs the sizes have half of the levels
    assert matched(seen, 8, "affine") == migacz(seen, 8, "affine")


def test_judged_twice_a_network_that_rounds_its_weights_answers_alike():
    quantized = quantize.simulate(small(), {}, Config(Format(3), None))
    split = Split(IMAGES, torch.arange(len(IMAGES)) % 10)
    first, second = (controlled.told(quantized, split, WHOLE) for _ in range(2))
    assert first == second
    assert first["test"] == pytest.approx(ACCURACY(quantized, split), abs=0.01)
    assert len(first["right"]) == len(IMAGES)
    assert 100 * first["right"].count("1") / len(IMAGES) == pytest.approx(first["test"], abs=0.01)
