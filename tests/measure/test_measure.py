"""The scorecard, column by column, against counts by hand."""

from __future__ import annotations

import math
import zlib

import pytest
import torch
from safetensors.torch import save
from torch import nn

from xaiprune.data import Split
from xaiprune.measure import ACCURACY, PSNR, accuracy, comparison, counting, latency, predict, psnr
from xaiprune.measure.memory import peak_activation_bytes
from xaiprune.measure.metrics import psnr_from_mse


@pytest.fixture
def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5)).eval()


def test_sizes_are_counted_as_stated(small):
    with torch.no_grad():
        small[0].weight[:10] = 0
    sizes = counting.sizes(small)
    assert sizes["parameters"] == 10 * 20 + 20 + 20 * 5 + 5
    assert sizes["nonzeros"] == sizes["parameters"] - 100
    assert sizes["dense_bytes"] == 4 * sizes["parameters"]
    first, second = 100 * 8 + 4 * 21, 100 * 8 + 4 * 6  # value and index for each non-zero, a pointer per row and one
    assert sizes["sparse_bytes"] == first + second + 4 * 25
    assert sizes["zipped_bytes"] == len(zlib.compress(save(small.state_dict()), 6))


def test_macs_are_those_of_the_layers():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(288, 5))
    expected = 8 * 3 * 9 * 64 + 8 * 9 * 36 + 288 * 5
    assert counting.macs(model, torch.rand(1, 3, 8, 8)) == expected
    assert counting.macs(model, torch.rand(4, 3, 8, 8)) == expected


def test_macs_count_attention():
    class Attention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    tokens, width = 16, 8
    assert counting.macs(Attention(), torch.rand(1, 1, tokens, width)) == 2 * tokens * tokens * width


def test_peak_memory_is_that_of_the_largest_moment(small):
    images = torch.rand(100, 10)
    assert peak_activation_bytes(small, images[:1]) == 4 * (10 + 20 + 20)  # input, linear, relu: the input is kept
    assert peak_activation_bytes(small, images[:3]) == 3 * 4 * (10 + 20 + 20)


def test_latency_is_taken_in_turns_and_threads_are_restored(small, monkeypatch):
    order, rests = [], []
    monkeypatch.setattr(latency.time, "sleep", lambda seconds: rests.append((seconds, len(order))))
    before = torch.get_num_threads()
    models = {name: (lambda x, name=name: order.append(name)) for name in "abc"}
    result = latency.latencies(models, torch.rand(1, 10), repeats=295, warmup=2, threads=1)
    assert len(order) == 3 * (295 + 30 * 2), "two runs before each turn"
    turns = [set(order[start : start + 12]) for start in range(0, 29 * 36, 12)]
    assert {len(turn) for turn in turns} == {1}, "nobody comes between the runs of a turn"
    turns = [name for [name] in turns]
    rounds = ["".join(turns[start : start + 3]) for start in range(0, 87, 3)]
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}, "each once in every round"
    for place in range(3):
        assert {one[place] for one in rounds} == set("abc"), "no place is anybody's"
    assert torch.get_num_threads() == before
    assert (result["a"].taken, result["a"].threads, result["a"].runtime) == (295, 1, "eager")
    assert result["a"].quartiles[0] <= result["a"].median <= result["a"].quartiles[1]
    assert not rests, "with one thread nobody's pool is at work"
    order.clear()
    latency.latencies(models, torch.rand(1, 10), repeats=20, threads=2)
    assert rests == [(latency._REST, 13 * turn) for turn in range(6)], "before each turn, its untimed runs included"


def test_samples_with_stolen_time_are_dropped_and_counted(monkeypatch):
    ticks = iter([0, 0, 0, 5, 5, 5])  # the second of three runs lost time
    monkeypatch.setattr(latency, "_stolen", lambda: next(ticks))
    [taken] = latency.latencies({"a": lambda x: x}, torch.rand(1), repeats=3, warmup=0).values()
    assert (taken.kept, taken.taken) == (2, 3)
    assert "2 of 3 runs" in str(taken)


def test_a_latency_is_what_the_clock_says_of_that_model(monkeypatch):
    now = [0.0]

    def taking(*seconds):
        rounds = iter(seconds)
        return lambda x: now.__setitem__(0, now[0] + next(rounds))

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    models = {"quick": taking(9.0, 0.001, 0.001, 0.001), "slow": taking(9.0, 0.010, 0.030, 0.020)}
    result = latency.latencies(models, torch.rand(1), repeats=3, warmup=1)
    assert result["quick"].median == pytest.approx(1)
    assert result["slow"].median == pytest.approx(20)
    assert result["slow"].quartiles == pytest.approx((15, 25))


def test_a_scorecard_has_every_column_and_only_finite_values(autoencoder):
    from xaiprune import data

    cards = comparison.scorecards(
        {"one": autoencoder, "two": autoencoder}, data.mnist("validation", 64), PSNR, repeats=3
    )
    for card in cards:
        assert list(card.values.keys() & card.columns.keys()) != []
        assert set(card.values) == set(card.columns)
        assert all(math.isfinite(value) and value > 0 for value in card.values.values())
    assert cards[0]["metric"] == cards[1]["metric"]
    assert cards[0]["metric_noise"] < cards[0]["metric"]
    assert cards[0]["energy"] == pytest.approx(15 * cards[0]["latency_1"])
    assert "not measured" in cards[0].notes["energy"]


def test_callers_add_columns(small):
    split = Split(torch.rand(4, 10).view(4, 10, 1, 1), torch.zeros(4, dtype=torch.long))
    model = nn.Sequential(nn.Flatten(), *small).eval()
    column = comparison.Column("layers", -1)
    card = comparison.scorecard(model, split, ACCURACY, repeats=1, extra={column: lambda m: len(m)})
    assert card["layers"] == 4
    assert "layers" in str(card)


def test_the_comparison_is_one_table_with_arrows(autoencoder):
    from xaiprune import data

    cards = comparison.scorecards({"a": autoencoder, "b": autoencoder}, data.mnist("validation", 8), PSNR, repeats=1)
    lines = str(comparison.compare(cards)).splitlines()
    assert lines[0].split() == ["measure", "better", "a", "b"]
    assert next(line for line in lines if line.startswith("PSNR [dB] ")).split()[2] == "↑"
    assert next(line for line in lines if line.startswith("parameters")).split() == [
        "parameters",
        "↓",
        "834,577",
        "834,577",
    ]
    assert "runtime" not in lines[-1]
    assert "eager" in lines[-1]
    assert comparison.compare(cards)._repr_html_().count("<tr>") == len(cards[0].columns) + 1


def test_noise_is_the_same_for_every_model_and_the_shift_moves_right():
    images = torch.rand(2, 1, 5, 5)
    moved = comparison.shifted(images, 2)
    assert torch.equal(moved[..., 2:], images[..., :3])
    assert not moved[..., :2].any()
    identity = nn.Identity()
    assert torch.equal(comparison._Noisy(identity, images)(images), comparison._Noisy(identity, images)(images))


def test_psnr_is_pooled_and_in_decibels(tiny, digits):
    split = Split(digits, None)
    with torch.no_grad():
        mse = (tiny(digits) - digits).square().mean().item()
    assert psnr(tiny, split) == pytest.approx(-10 * math.log10(mse), abs=1e-4)
    assert psnr(nn.Identity(), split) == math.inf
    assert psnr_from_mse(0.01) == pytest.approx(20)
    assert psnr_from_mse(255**2, peak=255) == pytest.approx(0)


def test_accuracy_is_in_per_cent():
    split = Split(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    assert accuracy(nn.Identity(), split) == 75


def test_measuring_restores_the_mode(tiny, digits):
    tiny.encoder.train()
    psnr(tiny, Split(digits, None))
    assert tiny.encoder.training
    assert not tiny.decoder.training


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, s: comparison.scorecards({}, s, PSNR), "models is empty"),
        (lambda m, s: comparison.scorecard(m, Split(s.inputs[:0], None), PSNR), "split is empty"),
        (lambda m, s: comparison.scorecard(m.train(), s, PSNR), "is in training mode"),
        (lambda m, s: comparison.scorecard(m, s, PSNR, repeats=0), "repeats must be at least 1"),
        (lambda m, s: comparison.compare([]), "cards is empty"),
    ],
)
def test_bad_requests_are_refused(tiny, digits, call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny, Split(digits, None))


def test_where_every_sample_lost_time_none_is_called_undisturbed(monkeypatch):
    ticks = iter(range(6))
    monkeypatch.setattr(latency, "_stolen", lambda: next(ticks))
    [taken] = latency.latencies({"a": lambda x: x}, torch.rand(1), repeats=3, warmup=0).values()
    assert (taken.kept, taken.taken) == (0, 3)
    assert math.isfinite(taken.median)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        latency.latencies({"a": lambda x: x}, torch.rand(1), threads=0)


class OnAnotherDevice(nn.Module):
    """Parameters on torch's device without memory; what comes in is noted, what goes out is its number of rows."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.empty(1, device="meta")), []

    def forward(self, images):
        self.seen.append(images.device.type)
        return torch.full((len(images), 1), len(images))


def test_images_go_to_where_the_model_is():
    model = OnAnotherDevice()
    found = predict(model, torch.zeros(5, 1, 2, 2), batch_size=2)
    assert model.seen == ["meta"] * 3
    assert found.device.type == "cpu"
    assert found.flatten().tolist() == [2, 2, 2, 2, 1]
