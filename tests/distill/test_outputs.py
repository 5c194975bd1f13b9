"""What a teacher teaches students with one logit, maps and sequences, against formulas by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.cases.nets import net
from xaiprune.data import Split
from xaiprune.distill import (
    LOSSES,
    correlation,
    decoupled,
    distill,
    distillation_loss,
    freeze,
    hard_targets,
    relevance,
    size_against_limit,
    soft_targets,
    transfer,
)

#: Shape of outputs, of labels, the axis of the classes, and what is stated of it.
FORMS = {
    "classes": ((8, 5), (8,), 1, None),
    "map": ((3, 5, 4, 6), (3, 4, 6), 1, None),
    "volume": ((2, 3, 4, 3, 2), (2, 4, 3, 2), 1, None),
    "sequence": ((4, 7, 5), (4, 7), 2, None),
    "sequence, stated": ((4, 7, 5), (4, 7), 2, -1),
    "classes first": ((4, 5, 7), (4, 7), 1, 1),
    "classes first, by labels": ((4, 5, 7), (4, 7), 1, None),
    "square, stated": ((4, 5, 5), (4, 5), 2, 2),
}


class Table(nn.Module):
    """A model that answers with its own parameter."""

    def __init__(self, values: torch.Tensor):
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, x):
        return self.values[: len(x)]


def pair(shape, seed=0) -> tuple[nn.Module, nn.Module]:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (Table(torch.randn(shape, generator=generator, dtype=torch.float64)).eval() for _ in "ts")
    return freeze(teacher), student


def divergence(student, teacher, axis, temperature) -> torch.Tensor:
    """T^2 KL of each place, one place at a time."""
    rows = [each.movedim(axis, -1).reshape(-1, each.shape[axis]) / temperature for each in (student, teacher)]
    found = []
    for mine, told in zip(*rows):
        p, q = told.exp() / told.exp().sum(), mine.exp() / mine.exp().sum()
        found.append(temperature**2 * (p * (p / q).log()).sum())
    return torch.stack(found)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_labels_and_teacher_are_means_over_the_same_places(name, ignored, alpha):
    shape, places, axis, stated = FORMS[name]
    teacher, student = pair(shape)
    labels = torch.randint(0, shape[axis], places, generator=torch.Generator().manual_seed(3))
    if ignored:
        labels.view(-1)[::4] = -100
    counts = labels.reshape(-1) != -100
    rows = student.values.detach().movedim(axis, -1).reshape(-1, shape[axis])[counts]
    hard = -(rows.log_softmax(1)[range(len(rows)), labels.reshape(-1)[counts]]).mean()
    each = divergence(student.values.detach(), teacher.values, axis, 3.0)
    soft = (each if len(shape) == 2 and alpha == 1 else each[counts]).mean()  # without labels all of them count
    loss = distillation_loss(teacher, temperature=3.0, alpha=alpha, class_axis=stated)
    found = loss(student, torch.zeros(shape[0], 1), labels)
    assert found.item() == pytest.approx(((1 - alpha) * hard + alpha * soft).item(), abs=1e-6)


@pytest.mark.parametrize("shape", [(9,), (9, 1), (3, 1, 4, 2), (3, 4, 1)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_one_logit_is_a_bernoulli(shape, temperature):
    teacher, student = pair(shape)
    t, z = teacher.values.reshape(-1), student.values.detach().reshape(-1)
    p, q = (1 / (1 + (-each / temperature).exp()) for each in (t, z))
    wanted = temperature**2 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    x, axis = torch.zeros(shape[0], 1), (-1 if len(shape) == 3 else None)
    value = distillation_loss(teacher, temperature=temperature, alpha=1.0, class_axis=axis)(student, x, None)
    (gradient,) = torch.autograd.grad(value, student.values)
    assert value.item() == pytest.approx(wanted.item(), abs=1e-6)
    assert torch.allclose(gradient.reshape(-1), temperature * (q - p) / len(z), atol=1e-9)
    assert soft_targets(student.values, teacher.values, temperature, class_axis=axis).item() == value.item()


def test_every_loss_of_logits_moves_a_student_of_one_logit():
    teacher, student = pair((40, 1))
    labels = torch.arange(40) % 2
    for name, row in LOSSES.items():
        if row.reads == "logits":
            value = distillation_loss(teacher, name, alpha=1.0)(student, torch.zeros(40, 1), labels)
            (gradient,) = torch.autograd.grad(value, student.values)
            assert torch.isfinite(gradient).all(), name
            assert gradient.abs().max() > 1e-4, name
    found, told = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [1.0]])
    two = [torch.cat([torch.zeros(2, 1), each], 1) for each in (found, told)]
    assert relevance(found, told) == relevance(*two) > 0
    assert hard_targets(found, told) == hard_targets(*two)
    assert correlation(found, told) == correlation(*two)
    assert decoupled(found, told, torch.tensor([0, 1])) == decoupled(*two, torch.tensor([0, 1]))
    assert size_against_limit(found, told, 100.0).allclose(torch.ones(2, dtype=torch.float64), atol=0.01)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_student_of_one_logit_learns_its_teacher(alpha):
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    teacher = freeze(nn.Linear(4, 1))
    labels = (teacher(x)[:, 0] > 0).long()
    student = nn.Linear(4, 1).eval()
    data = Split(x, labels if alpha < 1 else None)
    before = soft_targets(student(x), teacher(x)).item()
    distill(teacher, student, data, None, alpha=alpha, epochs=10, lr=0.1, batch_size=32, progress=False)
    assert soft_targets(student(x), teacher(x)).item() < before


def test_own_losses_get_logits_as_they_are():
    teacher, student = pair((4, 1))
    seen = []

    def own(mine, told):
        seen.append((mine.shape, told.shape))
        return nn.functional.mse_loss(mine, told)

    value = distillation_loss(teacher, own, alpha=1.0)(student, torch.zeros(4, 1), None)
    assert seen == [((4, 1), (4, 1))]
    assert value.item() == pytest.approx((student.values - teacher.values).square().mean().item())


def test_what_cannot_be_known_is_asked_for():
    teacher, student = pair((4, 7, 5))
    x = torch.zeros(4, 1)
    for labels in (None, torch.zeros(4).long()):
        with pytest.raises(
            ValueError, match=r"class_axis must be said for outputs of shape \(4, 7, 5\) without labels"
        ):
            distillation_loss(teacher, alpha=1.0)(student, x, labels)
    with pytest.raises(ValueError, match=r"targets cannot be meant: for outputs of shape \(4, 7, 5\)"):
        distillation_loss(teacher, alpha=0.5)(student, x, torch.zeros(4).long())
    with pytest.raises(ValueError, match="student and teacher must have the same classes"):
        distillation_loss(teacher, alpha=1.0)(pair((4, 7, 6))[1], x, None)
    with pytest.raises(ValueError, match="outputs of one shape"):
        soft_targets(torch.zeros(4, 1), torch.zeros(4))
    one, other = pair((4, 1))
    with pytest.raises(TypeError, match="regression_loss"):
        distillation_loss(one, alpha=0.5)(other, x, torch.rand(4))


def forms(linear: nn.Module) -> dict[str, tuple[nn.Module, object]]:
    return {
        "dictionary": (net(lambda m, x: {"logits": m.a(x), "x": x}, linear), "logits"),
        "tuple": (net(lambda m, x: (x, m.a(x)), linear), 1),
        "function": (net(lambda m, x: [[m.a(x)]], linear), lambda found: found[0][0]),
    }


@pytest.mark.parametrize("form", ["dictionary", "tuple", "function"])
def test_models_of_any_output_are_distilled_alike(form):
    torch.manual_seed(0)
    teacher, student, x = nn.Linear(4, 3), nn.Linear(4, 3), torch.randn(32, 4)
    data, usual = Split(x, torch.arange(32) % 3), {"epochs": 2, "batch_size": 8, "progress": False}
    told, output = forms(teacher)[form]
    mine, _ = forms(copy.deepcopy(student))[form]
    plain = distill(freeze(teacher), student.eval(), data, data, **usual)
    found = distill(freeze(told), mine, data, data, output=output, **usual)
    assert [row["validation"] for row in found] == [row["validation"] for row in plain]
    assert torch.equal(mine.a.weight, student.weight)
    assert not mine._forward_hooks
    assert not mine._forward_pre_hooks
    answers = transfer(freeze(told), data, output=output).logits
    assert torch.equal(answers[0], teacher(x))
    with pytest.raises(ValueError, match=r"student gives no tensor but .* say by output="):
        distill(freeze(told), mine, data, data, **usual)


def test_the_teacher_does_not_move():
    layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    teacher, student, x = freeze(layers), nn.Linear(4, 3).eval(), torch.randn(16, 4)
    loss = distillation_loss(teacher)
    teacher[1].train()  # as by the train() of a model that it is a part of
    with pytest.raises(ValueError, match="teacher has a part in training mode, '1'"):
        loss(student, x, torch.zeros(16).long())
    assert torch.equal(teacher[1].running_mean, torch.zeros(6))

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.a = nn.Linear(4, 3)

        def forward(self, x):
            self.calls += 1
            return self.a(x.mul_(1))

    counting = freeze(Counting())
    data = Split(x, torch.zeros(16).long())
    distill(counting, student, data, None, epochs=1, batch_size=8, progress=False)
    assert counting.calls == 0


def test_student_and_teacher_see_the_same_inputs_though_one_changes_them():
    torch.manual_seed(0)
    x, linear = torch.randn(16, 4), nn.Linear(4, 3)
    changing = net(lambda m, x: m.a(x.mul_(3)), linear)
    given = x.clone()
    loss = distillation_loss(freeze(changing), alpha=1.0, temperature=1.0)
    found = loss(nn.Linear(4, 3).requires_grad_(False), given, None)
    assert torch.equal(given, x)
    same = distillation_loss(freeze(changing), alpha=1.0)(changing, given, None)
    assert same.item() == pytest.approx(0, abs=1e-7)
    assert found > 0


def test_inputs_of_several_kinds_are_distilled():
    torch.manual_seed(0)
    a, b = torch.randn(16, 4), torch.randn(16, 2)
    teacher, student = freeze(nn.Bilinear(4, 2, 3)), nn.Bilinear(4, 2, 3).eval()
    data = Split({"input1": a, "input2": b}, torch.arange(16) % 3)
    before = student.weight.clone()
    distill(teacher, student, data, None, epochs=1, batch_size=8, progress=False)
    assert not torch.equal(before, student.weight)
    value = distillation_loss(teacher, alpha=1.0)(student, (a, b), None)
    assert value.item() == pytest.approx(soft_targets(student(a, b), teacher(a, b)).item())
    with pytest.raises(ValueError, match="split has several inputs, and a transfer set keeps one tensor"):
        transfer(teacher, data)
    with pytest.raises(ValueError, match="loss 'relevance' hides parts of images"):
        distill(teacher, student, data, None, loss="relevance", epochs=1, batch_size=8, progress=False)
