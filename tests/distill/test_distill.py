"""Losses against closed forms, and the loop: cached as live, resumed as whole, the teacher untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xaiprune import distill, explain
from xaiprune.data import Split
from xaiprune.distill import LOSSES, Transfer, distillation_loss, draw_patches, freeze, hide, model_outputs, transfer
from xaiprune.training import classification_loss, random_shift

N, CLASSES = 6, 5


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [3 * torch.randn(N, CLASSES, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.fixture
def labels():
    return torch.arange(N) % CLASSES


def small(width: int = 6) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * width, CLASSES),
    ).eval()


@pytest.fixture
def teacher():
    return freeze(small(8))


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(1)
    return Split(torch.rand(32, 1, 8, 8, generator=generator), torch.randint(0, CLASSES, (32,), generator=generator))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_are_the_published_divergence(logits, temperature):
    student, teacher = logits
    p, q = (torch.softmax(values / temperature, 1) for values in (teacher, student))
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    assert distill.soft_targets(student, teacher, temperature) == pytest.approx(expected.item(), rel=1e-9)


def test_for_large_temperatures_soft_targets_match_logits(logits):
    student, teacher = logits
    student.requires_grad_()
    distill.soft_targets(student, teacher, 1e6).backward()
    apart = student.detach() - teacher
    limit = (apart - apart.mean(1, keepdim=True)) / CLASSES / N
    assert torch.allclose(student.grad, limit, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 30.0])
def test_the_size_against_the_limit_is_that_of_the_gradients(logits, temperature):
    student, teacher = logits
    student = student.requires_grad_()
    (slope,) = torch.autograd.grad(distill.soft_targets(student, teacher, temperature), student)
    apart = (student - teacher).detach()
    limit = (apart - apart.mean(1, keepdim=True)) / CLASSES / N
    found = distill.size_against_limit(student.detach(), teacher, temperature)
    assert found.numpy() == pytest.approx((slope.norm(dim=1) / limit.norm(dim=1)).numpy(), rel=1e-9)
    if temperature == 30:
        assert (found - 1).abs().max() < 0.1


def test_decoupled_parts_add_up_to_soft_targets(logits, labels):
    student, teacher = logits
    for row in range(N):
        one, other, label = student[row : row + 1], teacher[row : row + 1], labels[row : row + 1]
        sure = torch.softmax(other / 3, 1)[0, label].item()
        parts = distill.decoupled(one, other, label, 3.0, target=1.0, others=1 - sure)
        assert parts == pytest.approx(distill.soft_targets(one, other, 3.0).item(), rel=1e-9)


def test_correlation_is_pearsons(logits):
    student, teacher = (torch.softmax(values / 2, 1).numpy() for values in logits)
    rows = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(student, teacher)])
    columns = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(student.T, teacher.T)])
    found = distill.correlation(*logits, 2.0, inter=0.5, intra=3.0)
    assert found == pytest.approx(4 * (0.5 * rows + 3 * columns), rel=1e-6)


def test_hard_targets_are_the_teachers_answers(logits):
    student, teacher = logits
    expected = -torch.log_softmax(student, 1)[torch.arange(N), teacher.argmax(1)].mean()
    assert distill.hard_targets(student, teacher) == pytest.approx(expected.item())


def test_losses_of_features_have_their_closed_forms():
    one, other = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.rand(2, 3, 4, 4, dtype=torch.float64)
    assert distill.hints(one, other) == pytest.approx((one - other).pow(2).mean().item() / 2)
    maps = [values.pow(2).sum(1).flatten(1).numpy() for values in (one, other)]
    maps = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in maps]
    assert distill.attention(one, other) == pytest.approx(((maps[0] - maps[1]) ** 2).sum(1).mean())


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_zero_or_least_where_the_student_is_the_teacher(name, teacher, split):
    layers = ["0"] if LOSSES[name].reads == "features" else []
    objective = distillation_loss(teacher, name, alpha=1.0, layers=layers)
    same, other = freeze(teacher), small(8)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    values = [objective(net, *split).item() for net in (same, other)]
    assert values[0] < values[1]
    if name != "hard targets":
        assert values[0] == pytest.approx(0, abs=1e-5)


def test_the_objective_is_the_weighted_sum(teacher, split):
    student = small(6)
    given, told = student(split.inputs), teacher(split.inputs)
    mixed = distillation_loss(teacher, {"soft targets": 2.0, "correlation": 0.5}, temperature=3.0, alpha=0.7)(
        student, *split
    )
    parts = 2 * distill.soft_targets(given, told, 3.0) + 0.5 * distill.correlation(given, told, 3.0)
    hard = classification_loss(student, *split)
    assert mixed.item() == pytest.approx((0.3 * hard + 0.7 * parts).item(), rel=1e-5)
    assert distillation_loss(teacher, alpha=0.0)(student, *split).item() == pytest.approx(hard.item(), rel=1e-6)


def test_relevance_is_the_limit_of_soft_targets_for_differences(logits):
    student, teacher = logits
    found = distill.relevance(student, teacher)
    assert found == pytest.approx(distill.soft_targets(student, teacher, 1e5).item(), rel=1e-3)
    apart = student - teacher
    centred = apart - apart.mean(1, keepdim=True)
    assert found == pytest.approx((centred**2).sum().item() / (2 * N * CLASSES))
    assert distill.relevance(student, student + 3) == pytest.approx(0, abs=1e-12)


def test_hidden_patches_are_black_and_the_rest_is_as_it_was():
    patches = draw_patches(400, torch.Generator().manual_seed(0), most=0.5)
    assert patches.shape == (400, 4, 4)
    assert 0.2 < patches.float().mean() < 0.3
    assert patches.float().mean((1, 2)).std() > 0.15  # some images lose much, others nothing
    images = 0.1 + torch.rand(2, 3, 10, 12)
    found, corner = hide(images, torch.zeros(2, 4, 4).bool()), torch.zeros(2, 4, 4).bool()
    assert torch.equal(found, images)
    corner[1, 0, 3] = True
    found = hide(images, corner)
    assert torch.equal(found[0], images[0])
    gone = found[1] == 0
    assert gone[:, :2, 9:].all()
    assert torch.equal(found[1][~gone], images[1][~gone])
    assert gone.sum() == 3 * 3 * 3  # rows 0 to 2, columns 9 to 11, three colours


def test_evidence_is_what_the_logits_lose(teacher, split):
    patches = draw_patches(32, torch.Generator().manual_seed(0))
    seen = model_outputs(teacher, split.inputs, ["0"], patches=patches)
    lost = teacher(split.inputs) - teacher(hide(split.inputs, patches))
    assert torch.allclose(seen.evidence, lost, atol=1e-5)
    assert torch.allclose(seen.logits, teacher(split.inputs), atol=1e-6)
    assert seen.features["0"].shape[0] == 32
    assert not seen.logits.requires_grad


def test_matching_evidence_brings_heatmaps_together(teacher, split):
    def likeness(student):
        classes = teacher(split.inputs).argmax(1)
        maps = [explain.heatmaps(net, split.inputs, classes, "shapley") for net in (student, teacher)]
        return torch.cosine_similarity(*(values.flatten(1) for values in maps)).mean().item()

    students = {}
    for weight in (0.0, 3.0):
        students[weight], loss = small(6), {"soft targets": 1, "relevance": weight}
        known = transfer(teacher, split, copies=20, augment=random_shift, evidence=True)
        distill.distill(teacher, students[weight], known, None, loss=loss, alpha=1.0, **{**LEARN, "epochs": 40})
    assert likeness(students[3.0]) > likeness(students[0.0])


LEARN = {"epochs": 3, "batch_size": 8, "lr": 1e-2, "progress": False}


def states(*models):
    return [torch.cat([p.flatten() for p in model.state_dict().values()]) for model in models]


def test_a_cached_teacher_teaches_as_a_live_one_and_stays_as_it_is(teacher, split):
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    live, cached = small(6), small(6)
    rows = distill.distill(teacher, live, split, split, **LEARN)
    distill.distill(teacher, cached, transfer(teacher, split), split, **LEARN)
    assert torch.allclose(*states(live, cached), atol=1e-6)
    assert rows[0]["epoch"] == -1
    assert sum(row["best"] for row in rows) == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_copies_are_gone_through_in_turn(teacher, split):
    known = transfer(teacher, split, copies=2, augment=random_shift, evidence=True)
    assert known.inputs.shape[:2] == known.logits.shape[:2] == known.evidence.shape[:2] == (2, 32)
    assert not torch.equal(*known.inputs)
    for copy in range(2):
        assert torch.allclose(known.logits[copy], teacher(known.inputs[copy]), atol=1e-5)
    one, other = small(6), small(6)
    first = Transfer(known.inputs[:1], known.targets, known.logits[:1])
    distill.distill(teacher, one, known, None, **{**LEARN, "epochs": 1})
    distill.distill(teacher, other, first, None, **{**LEARN, "epochs": 1})
    assert torch.equal(*states(one, other))


def test_labels_are_not_needed_with_alpha_one(teacher, split):
    alone = Split(split.inputs, None)
    rows = distill.distill(teacher, small(6), alone, split, alpha=1.0, **LEARN)
    assert len(rows) == 4
    with pytest.raises(ValueError, match=r"train has no labels: take alpha=1 \(got 0.9\)"):
        distill.distill(teacher, small(6), alone, split, **LEARN)
    with pytest.raises(ValueError, match="train has no labels"):
        distill.distill(teacher, small(6), alone, split, alpha=1.0, loss="decoupled", **LEARN)


def test_an_interrupted_run_ends_where_a_whole_one_does(teacher, split, tmp_path, interrupted):
    def cooling(done):
        return 8.0 - 6 * done

    whole, broken = small(6), small(6)
    distill.distill(teacher, whole, split, split, temperature=cooling, **LEARN)

    with interrupted(LEARN["epochs"] * (len(split.inputs) // LEARN["batch_size"]) * 2 // 3):
        distill.distill(teacher, broken, split, split, temperature=cooling, resume=tmp_path / "run", **LEARN)
    assert list(tmp_path.iterdir())
    again = small(6)
    distill.distill(teacher, again, split, split, temperature=cooling, resume=tmp_path / "run", **LEARN)
    assert torch.equal(*states(whole, again))
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_hides_the_same_patches(teacher, split, tmp_path, interrupted):
    whole, broken, again, options = small(6), small(6), small(6), {**LEARN, "loss": "relevance", "alpha": 0.5}
    distill.distill(teacher, whole, split, None, **options)

    with interrupted(LEARN["epochs"] * (len(split.inputs) // LEARN["batch_size"]) * 2 // 3):
        distill.distill(teacher, broken, split, None, resume=tmp_path / "run", **options)
    assert list(tmp_path.iterdir())
    distill.distill(teacher, again, split, None, resume=tmp_path / "run", **options)
    assert torch.equal(*states(whole, again))


def test_hints_come_through_a_regressor_that_leaves_no_trace(teacher, split):
    student = small(6)
    names = list(student.state_dict())
    distill.distill(teacher, student, split, split, loss={"soft targets": 1, "hints": 1}, layers=["0"], **LEARN)
    assert list(student.state_dict()) == names
    assert not any(module._forward_hooks for module in student.modules())


def test_hints_alone_pull_the_features_together(teacher, split):
    student, wanted = small(8), teacher[0](split.inputs)
    with torch.no_grad():
        student[0].weight.mul_(0.5)
    before = (student[0](split.inputs) - wanted).pow(2).mean().item()
    distill.distill(teacher, student, split, None, loss="hints", layers=["0"], alpha=1.0, **{**LEARN, "epochs": 20})
    assert (student[0](split.inputs) - wanted).pow(2).mean().item() < 0.2 * before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5"),
        ({"loss": "softer"}, "loss must be one of soft targets, .*, got 'softer'"),
        ({"loss": {}}, "loss is empty"),
        ({"loss": {"soft targets": -1.0}}, r"weights of losses must be at least 0, got \{'soft targets': -1.0\}"),
        ({"loss": "hints"}, "layers must be given for losses of features"),
        ({"layers": ["0"]}, "layers must be given for losses of features, and for them alone"),
        ({"loss": "attention", "layers": ["9"]}, r"layers must name modules of the teacher, got \['9'\]"),
    ],
)
def test_what_makes_no_sense_is_refused(teacher, options, message):
    with pytest.raises(ValueError, match=message):
        distillation_loss(teacher, **options)


def test_teachers_that_could_change_are_refused(split):
    with pytest.raises(ValueError, match="teacher is in training mode"):
        distillation_loss(freeze(small()).train())
    with pytest.raises(ValueError, match="teacher requires gradients"):
        distillation_loss(small())
    with pytest.raises(ValueError, match="teacher requires gradients"):
        transfer(small(), split)


class Pair(nn.Module):
    """A student with a second head, for what its teacher says."""

    def __init__(self):
        super().__init__()
        self.own, self.told = small(6), small(7)

    def forward(self, images):
        given = self.own(images), self.told(images)
        return given if self.training else (given[0] + given[1]) / 2


def test_a_second_head_hears_the_teacher_alone(teacher, split):
    student = Pair().train()
    both = distillation_loss(teacher, "hard targets", alpha=0.5)(student, *split)
    hard = distill.hard_targets(student.told(split.inputs), teacher(split.inputs))
    expected = 0.5 * classification_loss(student.own, *split) + 0.5 * hard
    assert both.item() == pytest.approx(expected.item(), rel=1e-6)
    rows = distill.distill(teacher, student.eval(), split, split, loss="hard targets", alpha=0.5, **LEARN)
    assert len(rows) == 4


def test_features_without_an_image_get_no_regressor(teacher, split):
    student = small(6)
    with pytest.raises(ValueError, match=r"'3' .* cannot be compared: \(8, 96\) and \(8, 128\)"):
        distill.distill(teacher, student, split, split, loss="hints", layers=["3"], **LEARN)
    assert not any(module._forward_hooks for module in student.modules())


def test_models_that_cannot_be_compared_are_refused(teacher, split):
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ValueError, match=r"same classes, their outputs are \(32, 3\), \(32, 5\)"):
        distillation_loss(teacher)(other, *split)
    strided = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(288, CLASSES))
    with pytest.raises(ValueError, match=r"layers '0' .* cannot be compared: \(32, 8, 6, 6\) and \(32, 8, 4, 4\)"):
        distillation_loss(teacher, "attention", layers=["0"])(strided, *split)
    with pytest.raises(ValueError, match="layers must name modules of the model, got '9'"):
        distillation_loss(teacher, "attention", layers={"9": "0"})(strided, *split)
    with pytest.raises(ValueError, match=r"train has no evidence: make it with transfer\(..., evidence=True\)"):
        distill.distill(teacher, small(6), transfer(teacher, split), split, loss="relevance", **LEARN)
    with pytest.raises(ValueError, match="augmented already"):
        distill.distill(teacher, small(6), transfer(teacher, split), split, augment=random_shift, **LEARN)
    with pytest.raises(ValueError, match="copies must be 1 where nothing is augmented"):
        transfer(teacher, split, copies=2)
