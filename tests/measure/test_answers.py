"""Losses and metrics of classes for outputs of any form, against formulas by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from tests.cases.nets import net
from xaiprune import measure
from xaiprune.data import Split
from xaiprune.measure import IGNORED, METRICS, accuracy, answer_rows, as_numbers, cross_entropy, mean_squared_error
from xaiprune.training import TASK_LOSSES, classification_loss, regression_loss

#: What a model gives and where each place finds its class: outputs' shape, labels' shape, ``class_axis``.
FORMS = {
    "classes": ((8, 5), (8,), None),
    "two classes": ((8, 2), (8,), None),
    "map": ((3, 5, 4, 6), (3, 4, 6), None),
    "square map": ((5, 5, 5, 5), (5, 5, 5), None),
    "volume": ((2, 3, 4, 3, 2), (2, 4, 3, 2), None),
    "sequence": ((4, 7, 5), (4, 7), None),
    "sequence, stated": ((4, 7, 5), (4, 7), -1),
    "sequence of one step": ((4, 1, 5), (4, 1), None),
    "classes first": ((4, 5, 7), (4, 7), None),
    "classes first, stated": ((4, 5, 7), (4, 7), 1),
    "square, stated": ((4, 5, 5), (4, 5), 1),
    "square, stated last": ((4, 5, 5), (4, 5), 2),
    "map, classes last": ((3, 4, 6, 5), (3, 4, 6), -1),
}


def axis_of(shape, stated, name) -> int:
    if stated is not None:
        return stated % len(shape)
    return 2 if len(shape) == 3 and name != "classes first" else 1


def drawn(shape, labels, axis, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    return outputs, torch.randint(0, shape[axis], labels, generator=generator)


def by_hand(outputs, labels, axis) -> tuple[float, float]:
    """Cross-entropy and accuracy, place by place."""
    losses, right = [], []
    moved = outputs.movedim(axis, -1)
    for place in itertools.product(*map(range, labels.shape)):
        label = labels[place].item()
        if label != IGNORED:
            logits = moved[place].tolist()
            losses.append(math.log(sum(map(math.exp, logits))) - logits[label])
            right.append(logits.index(max(logits)) == label)
    return sum(losses) / len(losses), 100 * sum(right) / len(right)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_loss_and_accuracy_weigh_every_place_alike(name, ignored):
    shape, places, stated = FORMS[name]
    axis = axis_of(shape, stated, name)
    outputs, labels = drawn(shape, places, axis)
    if ignored:
        labels.view(-1)[::3] = IGNORED
    loss, share = by_hand(outputs, labels, axis)
    found = classification_loss(nn.Identity(), outputs, labels, class_axis=stated)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert accuracy(nn.Identity(), Split(outputs, labels), class_axis=stated) == pytest.approx(share, abs=1e-9)
    if stated is None:
        assert METRICS["accuracy"].smooth(nn.Identity(), Split(outputs, labels)).item() == pytest.approx(
            -loss, abs=1e-6
        )


@pytest.mark.parametrize("shape", [(9,), (9, 1), (3, 1, 4, 2), (3, 4, 1)])
@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float32])
def test_one_logit_is_two_classes(shape, kind):
    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    places = tuple(size for place, size in enumerate(shape) if size > 1 or place == 0)
    labels = torch.randint(0, 2, places, generator=torch.Generator().manual_seed(1))
    z, y = outputs.detach().reshape(-1), labels.reshape(-1)
    p = 1 / (1 + (-z).exp())
    loss = classification_loss(nn.Identity(), outputs, labels.to(kind))
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert loss.item() == pytest.approx(-(y * p.log() + (1 - y) * (1 - p).log()).mean().item(), abs=1e-6)
    assert torch.allclose(gradient.reshape(-1), (p - y) / len(y), atol=1e-9)
    share = accuracy(nn.Identity(), Split(outputs.detach(), labels.to(kind)))
    assert share == pytest.approx(100 * ((z > 0) == y.bool()).double().mean().item())


def test_a_perfect_model_of_one_logit_has_all_right():
    x = torch.randn(50, 4)
    model = net(lambda m, x: m.a(x)[:, 0], nn.Linear(4, 1))
    labels = (model(x) > 0).long()
    assert accuracy(model, (x, labels)) == accuracy(model.a, (x, labels)) == 100
    assert accuracy(model, (x, 1 - labels)) == 0


#: Outputs, labels that cannot be meant, and what is said beside the shapes.
REFUSED = {
    "(N, 1)": ((6, 5), torch.ones(6, 1).long(), r"take targets.squeeze\(-1\)"),
    "(N, C)": ((6, 5), torch.ones(6, 5).long(), r"take targets.argmax\(-1\) if they are one-hot"),
    "N = C": ((5, 5), torch.ones(5, 5).long(), r"argmax"),
    "one-hot floats": ((6, 5), torch.ones(6, 5), r"argmax"),
    "scalar": ((6, 5), torch.tensor(1), r"must have shape \(6,\)"),
    "too few": ((6, 5), torch.ones(5).long(), r"must have shape \(6,\)"),
    "one per image of a map": ((6, 5, 4, 4), torch.ones(6).long(), r"must have shape \(6, 4, 4\)"),
    "(N, 1, H, W)": ((6, 5, 4, 4), torch.ones(6, 1, 4, 4).long(), r"must have shape \(6, 4, 4\)"),
    "one-hot map": ((6, 5, 4, 4), torch.ones(6, 5, 4, 4).long(), r"must have shape \(6, 4, 4\)"),
    "one per sequence": ((6, 7, 5), torch.ones(6).long(), r"must have shape \(6, 7\)"),
    "one logit, (N, 2)": ((6, 1), torch.ones(6, 2).long(), "0 or 1 for one logit"),
    "floats": ((6, 5), torch.rand(6), "regression_loss"),
    "one logit, numbers": ((6, 1), torch.rand(6), "regression_loss"),
    "one logit, -1 and 1": ((6, 1), torch.tensor([-1, 1] * 3), "from 0 to 1, as many as the model has, got -1"),
    "beyond": (
        (6, 5),
        torch.full((6,), 5),
        "from 0 to 4, as many as the model has, got 5; mark what does not count by",
    ),
    "void of a map": ((6, 5, 4, 4), torch.full((6, 4, 4), 255), "got 255"),
    "square": ((6, 5, 5), torch.ones(6, 5).long(), "class_axis must be said"),
    "none": ((6, 5), None, "targets"),
}


@pytest.mark.parametrize(("shape", "labels", "told"), REFUSED.values(), ids=REFUSED)
def test_labels_that_cannot_be_meant_are_refused(shape, labels, told):
    outputs = torch.randn(shape)
    with pytest.raises((ValueError, TypeError), match=told):
        classification_loss(nn.Identity(), outputs, labels)
    with pytest.raises((ValueError, TypeError), match=rf"{told}|give one target for each input"):
        accuracy(nn.Identity(), (outputs, labels))


def test_an_axis_of_classes_must_be_one():
    for axis in (0, 3, -3, True, 1.0):
        with pytest.raises(ValueError, match=r"class_axis must be an axis of outputs \(6, 7, 5\)"):
            answer_rows(torch.zeros(6, 7, 5), class_axis=axis)
    with pytest.raises(ValueError, match="split has no targets that count"):
        accuracy(nn.Identity(), (torch.zeros(2, 3), torch.full((2,), IGNORED)))
    with pytest.raises(ValueError, match="targets are missing"):
        cross_entropy(answer_rows(torch.zeros(2, 3)))


@pytest.mark.parametrize(("outputs", "targets"), [((6,), (6, 1)), ((6, 1), (6,)), ((6, 1), (6, 1)), ((6, 3), (6, 3))])
def test_regression_compares_numbers_and_broadcasts_nothing(outputs, targets):
    found, wanted = torch.randn(outputs), torch.randn(targets)
    value = (found.reshape(-1) - wanted.reshape(-1)).square().mean().item()
    assert regression_loss(nn.Identity(), found, wanted).item() == pytest.approx(value, abs=1e-6)
    assert mean_squared_error(nn.Identity(), (found, wanted)) == pytest.approx(value, abs=1e-6)
    assert METRICS["mean squared error"].better == -1
    assert TASK_LOSSES["regression"] is regression_loss


@pytest.mark.parametrize(("outputs", "targets"), [((6, 1), (6, 6)), ((6,), (5,)), ((6, 3), (6,)), ((6, 3), (6, 1))])
def test_numbers_of_other_shapes_are_refused(outputs, targets):
    with pytest.raises(ValueError, match="targets must have the shape of the outputs"):
        as_numbers(torch.zeros(outputs), torch.zeros(targets))
    with pytest.raises(ValueError, match="targets are missing"):
        regression_loss(nn.Identity(), torch.zeros(outputs), None)


#: Inputs of a model with three classes.
LAYERS = {
    "table": (nn.Sequential(nn.Linear(4, 3)), torch.randn(6, 4)),
    "normalised images": (nn.Sequential(nn.Flatten(), nn.Linear(27, 3)), torch.randn(6, 3, 3, 3)),
    "sequences": (nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), torch.randn(6, 4, 5)),
    "tokens": (nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3)), torch.randint(0, 9, (6, 5))),
    "two": (nn.Bilinear(4, 2, 3), (torch.randn(6, 4), torch.randn(6, 2))),
    "names": (nn.Bilinear(4, 2, 3), {"input1": torch.randn(6, 4), "input2": torch.randn(6, 2)}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_scorecards_of_inputs_of_any_form(name):
    layers, inputs = LAYERS[name]
    model = net(lambda m, *given, **named: {"logits": m.a(*given, **named)}, layers)
    model.forward = lambda *given, **named: {"logits": layers(*given, **named)}
    split = Split(inputs, torch.arange(6) % 3)
    before = split.inputs.clone()
    card = measure.scorecard(model, split, "accuracy", repeats=1, output="logits")
    assert card["metric"] == accuracy(model, split, output="logits")
    assert ("metric_noise" in card.values) == (name != "tokens")
    assert ("metric_shift" in card.values) == (name == "normalised images")
    assert "under noise" in str(card) or name == "tokens"
    assert "under shift" in str(card) or name != "normalised images"
    assert card["macs"] > 0 or name in ("two", "names")  # torch counts no bilinear layer
    assert card["activation_bytes"] > 0
    pairs = [[each] if isinstance(each, torch.Tensor) else each.values() for each in (before, split.inputs)]
    assert all(torch.equal(*pair) for pair in zip(*pairs))


def test_noise_follows_the_range_of_each_channel():
    from xaiprune.measure.comparison import _Noisy

    images = torch.randn(40, 2, 8, 8) * torch.tensor([1.0, 100.0]).view(2, 1, 1)
    noisy = _Noisy(nn.Identity(), images)(images) - images
    spans = images.amax((0, 2, 3)) - images.amin((0, 2, 3))
    assert torch.allclose(noisy.std((0, 2, 3)) / spans, torch.full((2,), 0.1), atol=0.01)
    pictures = torch.rand(5, 1, 4, 4)
    generator = torch.Generator().manual_seed(0)
    wanted = (pictures + 0.1 * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)
    assert torch.equal(_Noisy(nn.Identity(), pictures)(pictures), wanted)


def test_times_are_of_the_inputs_as_they_are_also_where_they_change_in_place():
    seen = []

    class Model(nn.Module):
        def forward(self, x):
            seen.append(x.sum().item())
            return x.mul_(2)

    x = torch.ones(2, 3)
    measure.latencies({"a": Model().eval()}, x, repeats=3)
    assert set(seen[1:]) == {6.0}
    assert torch.equal(x, torch.ones(2, 3))
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    model[1].train()
    with pytest.raises(ValueError, match="model 'a' has a part in training mode, '1'"):
        measure.latencies({"a": model}, x, repeats=1)
