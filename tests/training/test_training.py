"""Options of training, and what is handed on by construction: the loss, the seed, and objects of one's own."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from tests.whole.test_resume import OWN, SPLITS, doubled, network
from xaiprune import distill, prune, quantize
from xaiprune.data import Split
from xaiprune.distill import LOSSES, Loss, distillation_loss, freeze, soft_targets
from xaiprune.measure import PSNR
from xaiprune.pipeline import Distill, Prune, Quantize, Tune
from xaiprune.prune import Criterion, Cutting, prune_and_tune, ratios, shrink
from xaiprune.training import (
    TrainOptions,
    classification_loss,
    fit,
    iterate,
    reconstruction_loss,
    scoring_loss,
    tune,
)
from xaiprune.zoo import ConvAutoencoder

LEARN = {"epochs": 2, "lr": 1e-2, "batch_size": 8, "progress": False}


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def trained(*arguments, **options) -> nn.Module:
    model = network()
    fit(model, SPLITS["train"], classification_loss, *arguments, **options)
    return model


def test_options_come_as_one_value_or_by_keyword_or_both():
    usual = trained(**LEARN)
    assert same(usual, trained(TrainOptions(**LEARN)))
    assert same(usual, trained(TrainOptions(**LEARN | {"lr": 0.3}), lr=1e-2))
    assert not same(usual, trained(TrainOptions(**LEARN | {"lr": 0.3})))


def test_every_default_is_adam_with_one_cycle_by_hand():
    model, by_hand = trained(**LEARN, seed=3), network()
    images, labels = SPLITS["train"].tensors
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=6)
    for epoch in range(2):
        by_hand.train()
        torch.manual_seed(3000 + epoch)
        order = torch.randperm(24, generator=torch.Generator().manual_seed(3000 + epoch))
        for rows in order.split(8):
            optimizer.zero_grad()
            classification_loss(by_hand, images[rows], labels[rows]).backward()
            optimizer.step()
            schedule.step()
    assert same(model, by_hand)


def test_optimizer_schedule_and_augmentation_can_be_ones_own():
    steps = []

    def counted(optimizer, lr, total):
        steps.append((lr, total))
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    descent = partial(torch.optim.SGD, momentum=0.5)
    one = trained(**LEARN, optimizer=descent, lr_schedule=counted)
    assert steps == [(1e-2, 6)]
    assert same(one, trained(**LEARN, optimizer=descent, lr_schedule=None))
    assert not same(one, trained(**LEARN))
    assert same(trained(**LEARN, augment="shift"), trained(**LEARN, augment=lambda x, g: shifted(x, g)))
    assert not same(trained(**LEARN, augment="shift"), trained(**LEARN))


def shifted(images, generator):
    from xaiprune.training import random_shift

    return random_shift(images, generator)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 1, "epoch": 3}, TypeError, "'epoch' is no option of a training; did you mean 'epochs'"),
        ({"lr": 0.1}, TypeError, "epochs is missing: how often"),
        ({"epochs": -1}, ValueError, "epochs must be a whole number of at least 0, got -1"),
        ({"epochs": 1, "lr": 0}, ValueError, "lr must be larger than 0, got 0"),
        ({"epochs": 1, "optimizer": "adam"}, TypeError, "optimizer must be callable, got 'adam'"),
        ({"epochs": 1, "augment": "shfit"}, ValueError, "augment must be one of shift, .*did you mean 'shift'"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_changes(options, error, message):
    model = network()
    with pytest.raises(error, match=message):
        fit(model, SPLITS["train"], classification_loss, **options)
    assert same(model, network())


def test_no_epoch_leaves_the_model_as_it_is():
    assert same(trained(**LEARN | {"epochs": 0}), network())
    assert prune_and_tune(network(), SPLITS["train"], SPLITS["validation"], ratio=0.5, steps=1, epochs=0).plan


def test_a_loop_of_ones_own_knows_where_it_is():
    options, seen, model = TrainOptions(**LEARN), [], network()

    def value(batch, moment):
        seen.append((moment.epoch, moment.step, moment.total, round(moment.done, 3), len(moment.rows)))
        return classification_loss(model, *batch)

    iterate(model, options.batches(SPLITS["train"]), value, options, identity={})
    assert seen[0] == (0, 0, 6, 0.0, 0)
    assert seen[-1] == (1, 5, 6, 0.833, 1)


def test_an_autoencoder_can_be_shrunk():
    torch.manual_seed(0)
    model = ConvAutoencoder(channels=(4, 6), hidden=10, latent=5).eval()
    images = torch.rand(16, 1, 28, 28)
    splits = dict.fromkeys(("train", "validation", "calibration"), Split(images, torch.zeros(16)))
    done = shrink(model, **splits, cost_target=0.7, steps=1, loss=reconstruction_loss, metric=PSNR, **LEARN)
    assert done.rows[-1]["share"] <= 0.7
    assert done.model(images).shape == images.shape


@pytest.mark.parametrize("function", ["shrink", "prune_and_tune"])
def test_loss_and_seed_reach_the_scores(function):
    seen = []

    def remembered(evidence):
        seen.append((evidence.loss, evidence.seed))
        return {group.name: torch.arange(group.size) + 1.0 for group in evidence.groups}

    criterion = Criterion("remembered", {"channels": remembered, "weights": remembered})
    usual = {"criterion": criterion, "loss": doubled, "seed": 4, "steps": 2, **LEARN}
    if function == "shrink":
        shrink(network(), **SPLITS, cost_target=0.7, **usual)
        assert seen == [(doubled, 4), (doubled, 5)]
    else:
        prune_and_tune(network(), SPLITS["train"], SPLITS["validation"], ratio=0.5, **usual)
        assert seen == [(doubled, 4), (doubled, 5)]


def test_another_seed_draws_another_random_plan():
    plans = [
        prune_and_tune(
            network(),
            SPLITS["train"],
            SPLITS["validation"],
            ratio=0.5,
            steps=1,
            criterion="random",
            epochs=0,
            seed=seed,
        ).plan
        for seed in (0, 0, 1)
    ]
    assert plans[0] == plans[1] != plans[2]


def test_what_a_teacher_teaches_is_scored_by_labels():
    objective = distillation_loss(freeze(network()), alpha=1.0)
    assert scoring_loss(objective) is classification_loss
    assert scoring_loss([doubled, objective]) is doubled
    by_labels = shrink(network(), **SPLITS, cost_target=0.7, steps=1, criterion="taylor", epochs=0)
    by_teacher = shrink(network(), **SPLITS, cost_target=0.7, steps=1, criterion="taylor", epochs=0, loss=objective)
    assert by_teacher.plan == by_labels.plan


def test_a_schedule_can_be_a_function():
    assert ratios(lambda t, ratio: ratio * t**2, 0.8, 2) == pytest.approx([0.2, 0.8])
    usual = {"ratio": 0.6, "steps": 2, "epochs": 0}
    done = prune_and_tune(
        network(), SPLITS["train"], SPLITS["validation"], schedule=lambda t, ratio: ratio * t**2, **usual
    )
    assert [row["ratio"] for row in done.rows] == pytest.approx([0.15, 0.6], abs=0.01)


def test_distillation_losses_can_be_objects_and_functions():
    student, teacher, split = network(), freeze(network(1)), SPLITS["train"].tensors
    by_name = distillation_loss(teacher, "soft targets")(student, *split)
    assert torch.equal(distillation_loss(teacher, LOSSES["soft targets"])(student, *split), by_name)
    assert torch.equal(
        distillation_loss(teacher, {Loss(soft_targets, "logits", ("temperature",)): 1.0})(student, *split), by_name
    )
    squared = distillation_loss(teacher, nn.functional.mse_loss, alpha=1.0)(student, *split)
    assert squared.item() == pytest.approx(nn.functional.mse_loss(student(split[0]), teacher(split[0])).item())
    rows = distill.distill(teacher, student, split, None, loss=nn.functional.mse_loss, **LEARN)
    assert len(rows) == 2


def test_attention_is_compared_as_it_is_where_hints_go_through_a_regressor():
    teacher, student, images = freeze(network(1, width=8)), network(), SPLITS["train"].tensors[0]
    objective = distillation_loss(teacher, {"attention": 1.0, "hints": 0.0}, alpha=1.0, layers=["0"])
    regressor = {"0": nn.Conv2d(6, 8, 1)}
    value = objective.value(student, images, None, objective.ask(images), regressors=regressor)
    assert value.item() == pytest.approx(distill.attention(student[0](images), teacher[0](images)).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("step", "written"),
    [
        (partial(Prune, ratio=0.5, criterion=OWN), "Prune(ratio=0.5, criterion=Criterion{name: 'own', "),
        (partial(Prune, ratio=0.5, units=prune.find_neurons), "Prune(ratio=0.5, units=find_neurons "),
        (partial(Tune, 1, augment=shifted), "Tune(epochs=1, augment=shifted "),
        (partial(Distill, 1, loss=nn.functional.mse_loss), "Distill(epochs=1, loss=mse_loss "),
        (
            partial(Quantize, calibrator=quantize.Calibrator("widest", quantize.CALIBRATORS["min-max"].function)),
            "Quantize(calibrator=Calibrator{name: 'widest', ",
        ),
    ],
)
def test_a_step_takes_objects_and_is_written_without_addresses(step, written):
    assert repr(step()).startswith(written)
    assert " at 0x" not in repr(step())
    assert repr(step()) == repr(step())
    assert step() == step()


def test_a_step_refuses_what_is_neither_a_name_nor_a_row():
    with pytest.raises(TypeError, match="criterion must be the name of a criterion or a criterion itself, got int"):
        Prune(ratio=0.5, criterion=3)
    with pytest.raises(ValueError, match="loss must read no features, got 'hints'"):
        Distill(1, loss="hints")
    with pytest.raises(ValueError, match=r"calibrator must be one of min-max, .*did you mean 'min-max'"):
        Quantize(calibrator="minmax")


def test_a_teacher_is_asked_in_every_part():
    teacher = freeze(network())
    teacher[4].train()
    with pytest.raises(ValueError, match="teacher has a part in training mode, '4'"):
        distillation_loss(teacher)
    with pytest.raises(ValueError, match="teacher has a part in training mode, '4'"):
        distill.transfer(teacher, SPLITS["train"])


def test_an_own_criterion_can_be_resumed(tmp_path):
    usual = {"criterion": OWN, "steps": 1, **LEARN, "resume": tmp_path / "run"}
    assert prune_and_tune(network(), SPLITS["train"], SPLITS["validation"], ratio=0.5, **usual).plan
    assert shrink(network(), **SPLITS, cost_target=0.7, **usual, cutting=Cutting(round_to=2)).plan


def test_tuning_keeps_the_first_state_where_nothing_is_better():
    model = network()
    rows = tune(model, SPLITS["train"], SPLITS["validation"], **LEARN | {"lr": 100.0})
    best = max(row["validation"] for row in rows)
    assert next(row for row in rows if row["best"])["validation"] == best


def test_options_are_a_value():
    options = TrainOptions(**LEARN)
    assert options == TrainOptions(**LEARN)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.epochs = 3
    assert set(options.identity) == {field.name for field in dataclasses.fields(options)} - {"resume", "progress"}
