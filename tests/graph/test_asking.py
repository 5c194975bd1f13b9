"""Models of any form are asked in one way, and nothing of them or of their inputs changes."""

from __future__ import annotations

import collections
import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.cases.nets import net
from xaiprune.data import Several, Split, as_split, batches
from xaiprune.graph import answer, asking, asks, calling, picked, unchanged
from xaiprune.graph.asking import _tell_memory
from xaiprune.measure import predict


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor


class ModelOutput(collections.OrderedDict):
    """As transformers has it: a dictionary with attributes."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


Named = collections.namedtuple("Named", "logits hidden")
Y, H = torch.arange(6.0).view(2, 3), torch.zeros(2, 8)
FORMS = {
    "tuple": ((Y, H), 0),
    "list": ([Y, H], 0),
    "named tuple": (Named(Y, H), "logits"),
    "named tuple by place": (Named(Y, H), 0),
    "dictionary": ({"logits": Y, "hidden": H}, "logits"),
    "dictionary of numbers": ({0: Y, 1: H}, 0),
    "dataclass": (Answer(Y, H), "logits"),
    "model output": (ModelOutput(logits=Y, hidden=H), "logits"),
    "nested": ({"out": (H, {"logits": Y})}, lambda found: found["out"][1]["logits"]),
}


@pytest.mark.parametrize(("found", "output"), FORMS.values(), ids=FORMS)
def test_the_part_that_is_meant_is_picked_or_asked_for(found, output):
    assert picked(found, output) is Y
    with pytest.raises(ValueError, match=r"model gives no tensor but a .* say by output= which part is meant"):
        picked(found)
    for wrong in ("nothing", 7):
        with pytest.raises(ValueError, match=f"output={wrong!r} is no part of what model gives: a "):
            picked(found, wrong)


def test_what_is_picked_must_be_a_tensor_and_a_tensor_has_no_parts():
    assert picked(Y) is Y
    assert picked(Y, lambda found: found) is Y
    for output in (0, "logits"):
        with pytest.raises(ValueError, match=r"but student gives a tensor of shape \(2, 3\): leave output out"):
            picked(Y, output, "student")
    with pytest.raises(ValueError, match="output must pick a tensor, but output='names' gives a list"):
        picked({"names": ["a"], "logits": Y}, "names")
    with pytest.raises(TypeError, match="output must be a key, an index or a function, got True"):
        picked((Y, H), True)


def test_the_batch_axis_stays_in_front():
    model = net(lambda m, x: (m.a(x), x), nn.Linear(3, 3))
    for wrong in (lambda found: found[0][0], lambda found: found[0].T):
        with pytest.raises(ValueError, match="output must keep the batch axis in front: of 2 inputs"):
            predict(model, Y, output=wrong)
    with pytest.raises(ValueError, match="model gives one number for 2 inputs"):
        predict(net(lambda m, x: m.a(x).mean(), nn.Linear(3, 3)), Y)


A, B = torch.rand(5, 2), torch.rand(5, 3)
INPUTS = {
    "tuple": (A, B),
    "list": [A, B],
    "names": {"input1": A, "input2": B},
    "other order": {"input2": B, "input1": A},
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_several_inputs_become_arguments(inputs):
    model = nn.Bilinear(2, 3, 1).eval()
    wanted = model(A, B)
    assert torch.equal(answer(model, inputs), wanted)
    assert torch.equal(calling(model, inputs)(), wanted)
    split = as_split((inputs, torch.arange(5)))
    assert torch.equal(predict(model, split.inputs, batch_size=2), wanted)
    each = [answer(model, some) for some, _ in batches(split, 2)]
    assert torch.equal(torch.cat(each), wanted) or torch.allclose(torch.cat(each), wanted)
    assert split.rows([1, 3]).inputs.values()[0].shape[0] == 2
    assert len(split.ids.unique()) == 5
    assert torch.equal(answer(torch.compile(model, backend="eager"), inputs), wanted)
    assert torch.equal(answer(nn.DataParallel(model), inputs), wanted)


def test_a_model_with_one_dictionary_as_argument_gets_it_whole():
    model = net(lambda m, batch: m.a(batch["x"]) + batch["shift"], nn.Linear(2, 2))
    inputs = {"x": A, "shift": torch.ones(5, 1)}
    whole = copy.copy(model)
    whole.forward = lambda batch: model.a(batch["x"]) + batch["shift"]
    assert torch.equal(answer(whole, inputs), model.a(A) + 1)


def test_several_inputs_are_checked():
    with pytest.raises(ValueError, match=r"same length in front, got '0': 5, '1': 4"):
        Several((A, B[:4]))
    with pytest.raises(TypeError, match="got str for 'name'"):
        Several({"x": A, "name": "a"})
    with pytest.raises(TypeError, match="linear needs one tensor, and these are several inputs"):
        nn.Linear(2, 2)(Several((A, B)))
    with pytest.raises(TypeError, match=r"several inputs stand together, as \(\(first, second\), targets\)"):
        list(batches([(A, B, torch.arange(5))]))
    assert len(as_split(((A, torch.arange(5)), (A, torch.arange(5)))).inputs) == 10  # two batches, as ever


def test_several_inputs_come_from_loaders_too():
    rows = [({"input1": a, "input2": b}, y) for a, b, y in zip(A, B, range(5))]
    loader = torch.utils.data.DataLoader(rows, batch_size=2)
    split = as_split(loader)
    assert torch.equal(split.inputs.parts["input2"], B)
    assert split.targets.tolist() == [0, 1, 2, 3, 4]
    assert as_split({"input1": A, "input2": B}).targets is None
    assert isinstance(Split((A, B), None).inputs, Several)


def state(model: nn.Module) -> list:
    rows = [
        (module.training, list(module._forward_hooks), list(module._forward_pre_hooks)) for module in model.modules()
    ]
    return [*rows, *(p.requires_grad for p in model.parameters()), *(b.clone() for b in model.buffers())]


def same(one: list, other: list) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def messy() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model.train()
    model[2].eval()
    model[0].weight.requires_grad_(False)
    model[3].register_forward_hook(lambda module, given, found: None)
    return model


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_is_as_it_was_also_after_an_error(fails):
    model = messy()
    before = state(model)
    try:
        with asking(model), unchanged(model, evaluate=True):
            assert not any(module.training for module in model.modules())
            model.train().requires_grad_(True)
            model(torch.rand(8, 3))
            model[1].running_mean = torch.ones(4)
            if fails:
                raise KeyError("inside")
    except KeyError:
        assert fails
    assert same(before, state(model))
    assert torch.equal(predict(model, torch.ones(2, 3)), predict(model, torch.ones(2, 3)))
    assert same(before, state(model))


def test_inputs_are_copied_and_gradients_reach_them():
    model = net(lambda m, x, y: m.a(x.sub_(1)) + y.mul_(2), nn.Linear(3, 3))
    inputs = Several((torch.rand(4, 3).requires_grad_(), torch.rand(4, 3)))
    before = inputs.detach().clone()
    answer(model, inputs).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(inputs.detach().values(), before.values()))
    assert torch.allclose(inputs.values()[0].grad, model.a.weight.sum(0).expand(4, 3))


def test_the_innermost_output_is_read_and_copies_answer_alike():
    model = net(lambda m, x: {"a": m.a(x), "x": x}, nn.Linear(3, 2))
    with asking(model, "a"):
        assert model(Y).shape == (2, 2)
        with asking(model):
            assert model(Y).shape == (2, 2)
        with asking(model, "x"):
            assert model(Y).shape == (2, 3)
        twin = copy.deepcopy(model)
        assert torch.equal(twin(Y), model(Y))
    assert set(model(Y)) == set(twin(Y)) == {"a", "x"}
    assert not twin._forward_hooks
    assert not twin._forward_pre_hooks
    with asking(model, strict=False):
        assert set(model(Y)) == {"a", "x"}


def test_a_scripted_model_is_called_as_it_is():
    model = torch.jit.script(nn.Linear(3, 2).eval())
    assert answer(model, Y).shape == (2, 2)
    with pytest.raises(ValueError, match=r"output=.logits. can be asked of an nn\.Module, but model is a"):
        answer(model, Y, "logits")


def test_a_function_gets_the_argument():
    @asks("one", "others")
    def both(one, others, *, size=1):
        return [model(Y).shape[1] for model in (one, *others.values())]

    model = net(lambda m, x: (m.a(x), x), nn.Linear(3, 2))
    assert both(model, {"b": model}, output=1) == [3, 3]
    with pytest.raises(ValueError, match="model 'b' gives no tensor but a tuple of 2"):
        both(nn.Identity(), {"b": model})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has", "2.50 GiB was asked for in a batch of 8 inputs"),
        (
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes.",
            "4.00 GiB was asked for",
        ),
    ],
)
def test_out_of_memory_is_said_with_the_size_and_what_to_lower(text, told):
    with pytest.raises(torch.OutOfMemoryError, match=told) as caught:
        _tell_memory(RuntimeError(text), 8)
    assert "Lower batch_size" in str(caught.value)


def test_out_of_memory_of_a_model_is_told():
    model = net(lambda m, x: torch.empty(2**62, dtype=torch.uint8), nn.Identity())
    with pytest.raises(RuntimeError, match=r"out of memory: .* in a batch of 2 inputs. Lower batch_size"):
        predict(model, Y)
