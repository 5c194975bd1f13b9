"""The door for data: whatever form they have, the same batches come out of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from xaiprune.data import Split, as_split, batches, device_of
from xaiprune.training import classification_loss, fit

INPUTS, TARGETS = torch.rand(11, 2, generator=torch.Generator().manual_seed(0)), torch.arange(11) % 3
DATASET = TensorDataset(INPUTS, TARGETS)


class Stream(IterableDataset):
    """Items one after another, without a length."""

    def __iter__(self):
        return iter(zip(INPUTS, TARGETS))


def numbered() -> list:
    return list(zip(INPUTS.split(4), TARGETS.split(4)))


FORMS = {
    "a split": lambda: Split(INPUTS, TARGETS),
    "a pair of tensors": lambda: (INPUTS, TARGETS),
    "a dataset": lambda: DATASET,
    "a loader": lambda: DataLoader(DATASET, batch_size=4),
    "a stream": Stream,
    "a list of batches": numbered,
    "a generator": lambda: iter(numbered()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_batches(form):
    found = list(batches(FORMS[form](), batch_size=4))
    assert [len(inputs) for inputs, _ in found] == [4, 4, 3]
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), INPUTS)
    assert torch.equal(torch.cat([targets for _, targets in found]), TARGETS)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_one_split(form):
    for limit in (None, 5, 100):
        split = as_split(FORMS[form](), limit)
        assert torch.equal(split[0], INPUTS[:limit])
        assert torch.equal(split[1], TARGETS[:limit])


def test_a_split_is_given_back_as_it_is():
    split = Split(INPUTS, TARGETS)
    assert as_split(split) is split


@pytest.mark.parametrize("form", ["a split", "a dataset"])
def test_what_is_drawn_is_a_permutation_of_the_seed(form):
    source = batches(FORMS[form](), batch_size=4, drop_last=True)
    rows = [torch.cat([inputs for inputs, _ in source.drawn(0, torch.Generator().manual_seed(s))]) for s in (3, 3, 4)]
    assert len(source) == 2
    assert rows[0].shape == (8, 2)
    assert torch.equal(rows[0], INPUTS[torch.randperm(11, generator=torch.Generator().manual_seed(3))[:8]])
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


@pytest.mark.parametrize("form", FORMS)
def test_batches_go_to_the_device_that_is_asked_for(form):
    model = nn.Linear(2, 3, device="meta")
    found = list(batches(FORMS[form](), batch_size=4, device=device_of(model)))
    assert {part.device.type for batch in found for part in batch} == {"meta"}
    assert INPUTS.device.type == "cpu"


def test_inputs_need_no_targets():
    for form in (INPUTS, (INPUTS, None), list(INPUTS.split(4)), TensorDataset(INPUTS)):
        assert all(targets is None for _, targets in batches(form, batch_size=4))
        assert as_split(form)[1] is None


def test_a_dataset_is_put_together_as_one_wants():
    def halved(items):
        inputs, targets = zip(*items)
        return torch.stack(inputs) / 2, torch.tensor([int(target) for target in targets])

    assert torch.equal(as_split(DATASET, collate=halved)[0], INPUTS / 2)
    with pytest.raises(ValueError, match="collate puts the items of a Dataset together, but data is tuple of Tensor"):
        batches((INPUTS, TARGETS), collate=halved)


def test_an_iterator_is_read_once_and_says_so():
    source = batches(iter(numbered()), name="validation")
    assert len(list(source)) == 3
    with pytest.raises(ValueError, match=r"validation is an iterator.* needed again: pass list\(validation\)"):
        list(source)


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [
        (5, TypeError, "data must be a Split, a pair .* or an iterable of batches, got int"),
        ((INPUTS, TARGETS[:3]), ValueError, "data has 11 inputs and 3 targets"),
        ((INPUTS, [1, 2]), TypeError, "data must have a tensor of targets, or None, got list of int, int"),
        ([{"x": "a"}], TypeError, "a batch of data must be tensors, .* got str for 'x'"),
        (["a"], TypeError, "a batch of data must be a pair .* got str"),
        ([], ValueError, "data is empty: at least one batch is needed"),
    ],
)
def test_other_forms_are_refused(form, error, message):
    with pytest.raises(error, match=message):
        as_split(form)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


LEARN = {"epochs": 2, "lr": 1e-2, "batch_size": 4, "progress": False}


def test_a_dataset_trains_as_its_tensors_do():
    one, other = network(), network()
    fit(one, (INPUTS, TARGETS), classification_loss, **LEARN)
    fit(other, DATASET, classification_loss, **LEARN)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_a_loader_that_shuffles_trains_alike_for_one_seed_and_leaves_the_generator():
    states = []
    for draws in (0, 5):
        model, loader = network(), DataLoader(DATASET, batch_size=4, shuffle=True)
        torch.rand(draws)
        before = torch.get_rng_state()
        rows = fit(model, loader, classification_loss, **LEARN)
        assert torch.equal(torch.get_rng_state(), before)
        states.append([rows[-1]["loss"], *(tensor.sum().item() for tensor in model.state_dict().values())])
    assert states[0] == states[1]


@pytest.mark.parametrize("form", ["a generator", "a stream"])
def test_training_needs_to_know_how_many_batches_there_are(form):
    with pytest.raises(TypeError, match=r"train does not say how many .*: pass a list of batches"):
        fit(network(), FORMS[form](), classification_loss, **LEARN)


def test_a_loader_is_read_alike_each_time_and_leaves_its_own_generator():
    own = torch.Generator().manual_seed(7)
    loader, before = DataLoader(DATASET, batch_size=4, shuffle=True, generator=own), own.get_state()
    assert torch.equal(as_split(loader).inputs, as_split(loader).inputs)
    source = batches(loader)
    drawn = [torch.cat([x for x, _ in source.drawn(0, torch.Generator().manual_seed(s))]) for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(own.get_state(), before)


def test_a_split_goes_to_the_device_of_a_model():
    split = as_split(DATASET, on=nn.Linear(2, 3, device="meta"))
    assert (split.inputs.device.type, split.targets.device.type) == ("meta", "meta")
    assert as_split(split, on=nn.Linear(2, 3, device="meta")) is split
