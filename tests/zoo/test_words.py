"""Words as pictures, networks that read them, and the units of a memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from xaiprune import explain, measure, prune, zoo
from xaiprune.core import seed_everything
from xaiprune.data import words
from xaiprune.data.splits import SPLITS
from xaiprune.training import classification_loss, fit


def test_splits_are_apart_and_even():
    found = {name: words.words(name) for name in SPLITS}
    assert {name: len(split.inputs) for name, split in found.items()} == words.SIZES
    spelled = {name: set(words.spelled(split.inputs)) for name, split in found.items()}
    assert sum(map(len, spelled.values())) == len(set().union(*spelled.values())) == 24_000
    for split in found.values():
        counts = torch.bincount(split.targets, minlength=6) / len(split.targets)
        assert counts.min() > 0.12
        assert split.inputs.shape[1:] == (1, 12, len(words.LETTERS))
        assert set(split.inputs.unique().tolist()) == {0, 1}
    assert words.words("test", 5).inputs.shape[0] == 5


def test_a_picture_is_its_word():
    images = words.pictures(["straße", "a"])
    assert words.spelled(images) == ["straße", "a"]
    assert images[0, 0, :6].sum() == 0
    assert images[0, 0, 10, words.LETTERS.index("ß")] == 1
    for wrong, message in (("", "1 to 12 letters"), ("a" * 13, "1 to 12"), ("Haus", "got 'H' in 'Haus'")):
        with pytest.raises(ValueError, match=message):
            words.pictures([wrong])
    with pytest.raises(ValueError, match="split must be one of train"):
        words.words("valid")


def test_a_damaged_file_is_named(monkeypatch):
    monkeypatch.setattr(words, "DIGEST", "0" * 64)
    words._rows.cache_clear()
    with pytest.raises(ValueError, match=r"words.tsv.gz is damaged"):
        words.words("test")
    words._rows.cache_clear()


@pytest.fixture(scope="module")
def lstm() -> nn.Module:
    """A small one that has learned a little."""
    seed_everything(0)
    model = zoo.WordLSTM(hidden=12)
    fit(model, words.words("train", 2000), classification_loss, epochs=2, lr=1e-2, progress=False)
    return model.eval()


def test_a_memory_is_the_loop_in_its_paper(lstm):
    """h and c of Hochreiter and Schmidhuber with forget gates (Gers et al. 2000), letter by letter."""
    images = words.words("test", 3).inputs
    memory = lstm.memory
    x = images[:, 0] @ lstm.embed.weight.T
    h, c = torch.zeros(3, 12), torch.zeros(3, 12)
    for place in range(12):
        rows = x[:, place] @ memory.weight_ih_l0.T + memory.bias_ih_l0 + h @ memory.weight_hh_l0.T + memory.bias_hh_l0
        i, f, g, o = rows.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    torch.testing.assert_close(lstm(images), lstm.head(h), rtol=1e-5, atol=1e-6)


def test_masking_and_cutting_a_memory_are_one(lstm):
    images = words.words("test", 20).inputs
    [group] = prune.find_memory(lstm)
    assert (group.name, group.size) == ("memory", 12)
    before = {name: tensor.clone() for name, tensor in lstm.state_dict().items()}
    plan = prune.plan(prune.score(lstm, [group], "l2"), k=5)
    with prune.masked(lstm, plan), torch.no_grad():
        masked = lstm(images)
    smaller = prune.cut(lstm, plan)
    torch.testing.assert_close(smaller(images), masked, rtol=1e-5, atol=1e-5)
    assert (smaller.memory.hidden_size, smaller.head.in_features) == (7, 7)
    assert smaller.memory.weight_hh_l0.shape == (28, 7)
    assert not torch.allclose(masked, lstm(images), atol=1e-3)
    for name, tensor in lstm.state_dict().items():
        assert torch.equal(tensor, before[name])
    fit(smaller, words.words("train", 256), classification_loss, epochs=1, lr=1e-3, progress=False)


def test_criteria_of_a_memory_against_the_definition(lstm):
    split, [group] = words.words("calibration", 80), prune.find_memory(lstm)

    def loss(model) -> float:
        with torch.no_grad():
            return classification_loss(model, *split).item()

    found = prune.score(lstm, [group], "ablation", split)["memory"]
    taylor = prune.score(lstm, [group], "taylor", split)["memory"]
    sizes = prune.score(lstm, [group], "l1")["memory"]
    exact = copy.deepcopy(lstm).double()
    images, labels = split.inputs.double(), split.targets
    for unit in range(12):
        with prune.masked(lstm, prune.Plan((group,), {"memory": [unit]})):
            risen = loss(lstm)
        assert found[unit].item() == pytest.approx(risen - loss(lstm), abs=1e-6)
        owned, ends = {}, []
        for member in group.members:
            for name, axis in member.axes.items():
                mask = owned.setdefault(name, torch.zeros(exact.get_parameter(name).shape, dtype=torch.bool))
                mask.movedim(axis, 0)[member.index[unit]] = True
        for share in (1e-4, -1e-4):  # all weights of the unit a little smaller, and a little larger
            changed = copy.deepcopy(exact)
            with torch.no_grad():
                for name, mask in owned.items():
                    changed.get_parameter(name)[mask] *= 1 - share
                ends.append(classification_loss(changed, images, labels).item())
        assert taylor[unit].item() == pytest.approx(abs(ends[0] - ends[1]) / 2e-4, rel=1e-3, abs=1e-6)
        total = sum(exact.get_parameter(name).detach()[mask].abs().sum() for name, mask in owned.items())
        assert sizes[unit].item() == pytest.approx(float(total))


@pytest.mark.parametrize("criterion", ["activation", "fisher", "relevance", "integrated gradients", "bn-scale"])
def test_criteria_made_for_channels_are_refused_for_a_memory(lstm, criterion):
    with pytest.raises(ValueError, match=f"criterion '{criterion}' does not rank units of a memory, such as 'memory'"):
        prune.score(lstm, prune.find_memory(lstm), criterion, words.words("calibration", 10))


def test_a_unit_owns_four_gates_and_its_columns(lstm):
    [group] = prune.find_memory(lstm)
    owned = {(name, axis): member.index[3].tolist() for member in group.members for name, axis in member.axes.items()}
    assert owned["memory.weight_ih_l0", 0] == [3, 15, 27, 39]
    assert owned["memory.weight_hh_l0", 1] == [3]
    assert owned["head.weight", 1] == [3]


def test_what_cannot_be_cut_is_named():
    class Two(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.memory, self.head = nn.LSTM(4, 6, **options), nn.Linear(6, 2)

    for options, message in (
        ({"bidirectional": True}, "two directions"),
        ({"proj_size": 3}, "or a projection"),
        ({"num_layers": 2}, "has 2 layers in one"),
    ):
        with pytest.raises(ValueError, match=message):
            prune.find_memory(Two(**options))
    with pytest.raises(ValueError, match=r"model has no nn.LSTM"):
        prune.find_memory(zoo.dense((4,)))
    with pytest.raises(ValueError, match=r"must be read by the nn.Linear of its width"):
        prune.find_memory(nn.Sequential(nn.LSTM(4, 6), nn.Linear(5, 2)))


def test_the_five_words_on_a_transformer_of_letters():
    seed_everything(0)
    model, split = zoo.WordTransformer().eval(), words.words("validation", 60)
    units = prune.find_heads(model) + prune.find_neurons(model)
    plan = prune.plan(prune.score(model, units, "taylor", split), ratio=0.4)
    with prune.masked(model, plan), torch.no_grad():
        masked = model(split.inputs)
    torch.testing.assert_close(prune.cut(model, plan)(split.inputs), masked, rtol=1e-5, atol=1e-5)
    for method in ("attnlrp", "gradient x input", "occlusion"):
        assert explain.heatmaps(model, *split.first(4), method).shape == (4, 12, len(words.LETTERS))
    with pytest.raises(ValueError, match=r"images must be \(N, 1, 12"):
        model(torch.zeros(1, 1, 28, 28))


def test_operations_of_a_memory_are_counted(lstm):
    inside = 12 * 4 * 12 * (16 + 12)
    assert measure.macs(lstm, words.words("test", 2).inputs) == 12 * len(words.LETTERS) * 16 + inside + 12 * 6
