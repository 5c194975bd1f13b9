"""The benchmark of architectures of other people: what it calls right, refused and wrong, and the page it makes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.benchmarks.coverage import page, rows, verbs
from tests.benchmarks.coverage.architectures import Architecture, architectures
from tests.benchmarks.coverage.peer import torch_pruning

KNOWN = architectures()


class Shuffled(nn.Module):
    """Channels that change their places on the way."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.second, self.head = nn.Conv2d(16, 8, 3), nn.Linear(8, 10)
        self.one, self.two = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        y = self.one(self.norm(self.first(x)))
        y = y.unflatten(1, (2, 8)).transpose(1, 2).flatten(1, 2) if self.mixes else y
        return self.head(self.two(self.second(y)).mean((2, 3)))

    mixes = True


class Plain(Shuffled):
    mixes = False


def subject(build) -> verbs.Subject:
    return verbs.Subject(Architecture("a", "torch", "a", build, lambda n: torch.randn(n, 3, 9, 9)))


@pytest.mark.parametrize("verb", [verb for verb in verbs.VERBS if verb not in ("int8", "ONNX", "drift")])
def test_a_plain_network_comes_out_right_with_each_verb(verb):
    row = verbs.tried(subject(Plain), verb)
    assert (row["verdict"], row["told"]) == ("right", "")


def test_a_plain_network_is_in_groups_altogether():
    assert verbs.tried(subject(Plain), "find_units")["share"] == 1


def test_a_cut_that_is_not_its_mask_is_wrong(monkeypatch):
    one = subject(Plain)
    wrong = verbs.xp.cut(one.model, one.random_plan(1))
    monkeypatch.setattr(verbs.xp, "cut", lambda model, plan: wrong.to(next(model.parameters()).dtype))
    row = verbs.tried(one, "cut")
    assert row["verdict"] == "wrong"
    assert "differ" in row["told"]


@pytest.mark.parametrize(
    ("error", "verdict", "told"),
    [
        (RuntimeError("mat1 and mat2"), "wrong", "RuntimeError: mat1 and mat2"),
        (verbs.NotApplicableError("no batch normalisation"), "not applicable", "no batch normalisation"),
        (AssertionError("the cut differs by 0.2"), "wrong", "the cut differs by 0.2"),
        (ValueError("use another value"), "wrong", "ValueError: use another value"),  # raised here, not in the kit
    ],
)
def test_what_is_raised_has_a_verdict(monkeypatch, error, verdict, told):
    def fails(subject):
        raise error

    monkeypatch.setitem(verbs.VERBS, "plan", fails)
    row = verbs.tried(subject(Plain), "plan")
    assert (row["verdict"], row["told"]) == (verdict, told)


def test_a_sentence_of_the_kit_is_a_refusal_only_with_a_way_out(monkeypatch):
    """A model in training mode is refused with the call that helps."""
    one = subject(Plain)
    one.model.train()
    assert verbs.tried(one, "fold")["verdict"] == "refused"
    monkeypatch.setattr(verbs, "_WAY_OUT", verbs.re.compile("never said"))
    row = verbs.tried(one, "fold")
    assert (row["verdict"], row["told"][:11]) == ("wrong", "no way out:")


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(243, 9), nn.LayerNorm(9), nn.Linear(9, 5))


@pytest.mark.parametrize("build", [Plain, normed])
def test_the_peer_is_right_where_nothing_moves_channels(build):
    torch.manual_seed(0)
    model, inputs = build().double().eval(), torch.randn(2, 3, 9, 9).double()
    masked, cut = torch_pruning(model, inputs, verbs.output_layers(model, inputs))
    assert verbs.apart(masked, cut) <= verbs.DOUBLE


def test_layers_that_make_the_output_are_found():
    assert verbs.output_layers(Plain(), torch.randn(1, 3, 9, 9)) == {"head"}


def test_pairs_are_found_by_their_calls():
    """One activation in two places, as in a residual block; a function; two readers."""
    shared = nn.ReLU()
    twice = nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 2))
    assert verbs.pairs_by_hand(twice) == [("0", "2"), ("2", "4")]
    assert verbs.pairs_by_hand(Plain()) == [("first", "second")]
    assert verbs.pairs_by_hand(nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2))) == []


def test_constant_and_small_parameters_are_drawn_anew():
    norm = verbs.redrawn(nn.BatchNorm1d(8))
    assert all(tensor.std() > 0 for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var))


def test_enough_architectures_are_asked():
    families = {(each.library, each.family) for each in KNOWN.values()}
    counted = {library: sum(one == library for one, _ in families) for library, _ in families}
    assert counted["timm"] >= 60
    assert counted["transformers"] >= 15
    tasks = {each.task for each in KNOWN.values()}
    assert tasks == {"classes", "maps", "detection", "tokens", "next token"}


def test_rows_are_of_known_models_and_say_why():
    for row in rows.read():
        assert row["model"] in KNOWN
        assert row["verb"] in verbs.VERBS
        assert bool(row["told"]) == (row["verdict"] != "right")
        assert not row["told"].startswith("the process ended with status 0")


def test_the_page_is_made_of_the_rows():
    assert page.PAGE.read_text(encoding="utf-8") == page.text(rows.read(), KNOWN)
