"""Dynamic pruning: halves of a model, ways of images, and what they cost."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from xaiprune import data, distill, dynamic, measure, prune, zoo
from xaiprune.core import seed_everything
from xaiprune.dynamic import (
    Branch,
    Dynamic,
    choose_threshold,
    class_scores,
    class_sets,
    cut_tails,
    set_scores,
    split_at,
)
from xaiprune.training import classification_loss, fit, flip_and_shift

CLASSES, LAYER = 10, "features.3"


def pictures(name: str = "calibration", count: int = 200) -> data.Split:
    return data.fashion_mnist(name, count)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A narrow MobileNet that has learned a little."""
    seed_everything(0)
    net = zoo.mobilenet(width=0.1)
    fit(net, pictures("train", 800), classification_loss, epochs=2, lr=1e-2, batch_size=50, progress=False)
    return net.eval()


@pytest.fixture(scope="module")
def branch(model) -> Branch:
    return dynamic.fit_branch(split_at(model, LAYER).trunk, pictures("train", 500), classes=CLASSES, progress=False)


@pytest.fixture(scope="module")
def network(model, branch) -> Dynamic:
    """Two sets, each with a tail of about half of the operations."""
    units = dynamic.groups_behind(model, prune.find_units(model, pictures().inputs[:1]), LAYER)
    by_class = class_scores(model, units, pictures(), classes=CLASSES, criterion="taylor")
    sets = [(0, 1, 2, 5, 7), (3, 4, 6, 8, 9)]  # both hold classes that are hard to tell
    tails = cut_tails(model, LAYER, sets, by_class, pictures(), cost_target=0.5)
    trunk = split_at(model, LAYER).trunk
    sure = measure.predict(nn.Sequential(trunk, branch), pictures("validation", 120).inputs).softmax(1).amax(1)
    between = sure.sort().values[59:61].mean().item()  # no image stands on it
    return Dynamic(trunk, branch, tails, sets, between)


@pytest.mark.parametrize("layer", ["features.0", "features.3", "features.4.conv.0", "features.18"])
def test_both_halves_are_the_whole(model, layer):
    images = pictures().inputs[:8]
    trunk, tail = split_at(model, layer)
    assert torch.equal(tail(trunk(images)), model(images))
    parts = measure.macs(trunk, images), measure.macs(tail, trunk(images).detach())
    assert sum(parts) == measure.macs(model, images)


def test_where_a_model_cannot_be_cut(model):
    with pytest.raises(ValueError, match=r"the model cannot be cut after 'features.5.conv.0': .* also reads"):
        split_at(model, "features.5.conv.0")  # inside of a block with a residual sum: its input goes past
    with pytest.raises(ValueError, match=r"layer must be a module that runs once, got 'features.99'"):
        split_at(model, "features.99")
    with pytest.raises(ValueError, match="training mode"):
        split_at(zoo.mobilenet(width=0.1).train(), LAYER)


def test_blocks_are_behind_a_layer_where_all_of_them_are():
    model, image = zoo.load("mobilenet-fashion-mnist"), data.fashion_mnist("test", 1).inputs
    blocks = prune.find_blocks(model, image)
    assert dynamic.groups_behind(model, blocks, "features.2") == blocks
    assert dynamic.groups_behind(model, blocks, "features.8") == []


def test_units_behind_a_layer_leave_what_is_before_it_alone(model):
    units = prune.find_units(model, pictures().inputs[:1])
    found = dynamic.groups_behind(model, units, LAYER)
    assert 0 < len(found) < len(units)
    trunk = split_at(model, LAYER).trunk
    half = prune.cut(model, prune.plan(prune.score(model, found, "l2"), ratio=0.3))
    images = pictures().inputs[:4]
    assert torch.equal(split_at(half, LAYER).trunk(images), trunk(images))


def test_every_image_gets_the_answer_of_its_way(network):
    images = pictures("validation", 120).inputs
    found, ways = network(images), network.ways(images)
    assert len(set(ways.tolist())) == 3, "some leave, some go each way"
    with torch.no_grad():
        for image, logits, way in zip(images, found, ways.tolist()):
            features = network.trunk(image[None])
            early = network.branch(features)
            sure = early.softmax(1)[0]
            if sure.max() >= network.threshold:
                wanted, right = early, -1
            else:
                right = max((0, 1), key=lambda place: sure[list(network.sets[place])].sum().item())
                wanted = network.tails[right](features)
            assert way == right
            torch.testing.assert_close(logits, wanted[0], rtol=1e-4, atol=1e-4)


def test_tails_are_really_smaller_and_shares_add_up(network, model):
    images = pictures("validation", 120).inputs
    costs, shares = dynamic.route_macs(network, images), network.shares(images)
    assert sum(shares.values()) == pytest.approx(1)
    whole, trunk = measure.macs(model, images[:1]), measure.macs(network.trunk, images[:1])
    features = network.trunk(images[:1]).detach()
    extra = measure.macs(network.branch, features)
    for some, tail in zip(network.sets, network.tails):
        assert measure.macs(tail, features) <= 0.51 * (whole - trunk)
        assert costs[str(some)] == trunk + extra + measure.macs(tail, features)
    assert costs["exit"] == trunk + extra
    assert costs["mean"] == pytest.approx(sum(shares[way] * costs[way] for way in shares))
    assert costs["worst"] == max(costs[way] for way in shares if shares[way])
    widths = [sorted(tuple(weight.shape) for weight in tail.parameters()) for tail in network.tails]
    assert widths[0] != widths[1], "each set keeps other units"


def test_a_scorecard_tells_of_many_images(network, model):
    images = pictures("validation", 60).inputs
    mean, worst = dynamic.cost_columns(images).values()
    known = dynamic.route_macs(network, images)
    assert (mean(network), worst(network)) == (known["mean"], known["worst"])
    assert mean(network) < worst(network)
    assert mean(model) == worst(model) == measure.macs(model, images[:1])
    shipped = dynamic.OnnxDynamic(network, images[:1])
    assert (mean(shipped), worst(shipped)) == (mean(network), worst(network))
    [card] = measure.scorecards(
        {"shipped": shipped},
        pictures("validation", 60),
        measure.ACCURACY,
        extra=dynamic.cost_columns(images),
        repeats=3,
    )
    assert card["parameters"] == sum(p.numel() for p in network.parameters())
    assert card["dense_bytes"] == len(shipped.content)
    assert "part by part" in card.notes["latency_1"]
    assert card[dynamic.MEAN.title] == known["mean"]
    torch.testing.assert_close(shipped(images), network(images), rtol=1e-3, atol=1e-3)
    leaves = network.ways(images) < 0
    torch.testing.assert_close(shipped.path("exit")(images[leaves]), network(images[leaves]), rtol=1e-3, atol=1e-3)
    assert list(dynamic.cost_columns(images)) == [dynamic.MEAN, dynamic.WORST]
    with pytest.raises(ValueError, match="images is empty"):
        dynamic.cost_columns(images[:0])


def test_parts_in_onnx_runtime_answer_alike_and_are_timed(network, model):
    images = pictures("validation", 60).inputs
    quick = dynamic.OnnxDynamic(network, images[:1])
    torch.testing.assert_close(quick(images), network(images), rtol=1e-3, atol=1e-3)
    one_by_one = torch.cat([quick(image[None]) for image in images])
    torch.testing.assert_close(one_by_one, network(images), rtol=1e-3, atol=1e-3)
    for way in network.shares(images):
        torch.testing.assert_close(quick.path(way)(images), network.path(way)(images), rtol=1e-3, atol=1e-3)
    for whose in (network, quick):
        with pytest.raises(ValueError, match=r"way must be one of exit, .*, got 'in'"):
            whose.path("in")
    ways, times = dynamic.route_latencies(network, images, {"whole": model}, repeats=5)
    assert {"exit", "whole"} <= set(times)
    assert ways["worst"] == max(times[way].median for way, share in network.shares(images).items() if share)
    assert min(times[way].median for way in network.shares(images)) <= ways["mean"] <= ways["worst"]


def test_scores_for_a_set_are_those_of_the_class_that_needs_a_unit_most(model):
    units = dynamic.groups_behind(model, prune.find_units(model, pictures().inputs[:1]), LAYER)[:2]
    by_class = class_scores(model, units, pictures(), classes=CLASSES, criterion="taylor")
    assert len(by_class) == CLASSES
    found, name = set_scores(by_class, (3, 7)), units[0].name
    seen = [data.Split(*(part[pictures().targets == label] for part in pictures())) for label in (3, 7)]
    raw = [prune.score(model, units, "taylor", one)[name] for one in seen]
    assert torch.allclose(found[name], torch.maximum(*(values / values.abs().sum() for values in raw)))
    every = set_scores(by_class, range(CLASSES))
    assert torch.equal(set_scores([every] * CLASSES, (3, 7))[name], every[name])
    rows = pictures().targets != 4
    with pytest.raises(ValueError, match="data has no image of class 4"):
        class_scores(model, units, data.Split(pictures().inputs[rows], pictures().targets[rows]), classes=CLASSES)


def test_class_scores_take_a_loss_a_seed_and_a_criterion_of_ones_own(model):
    units = dynamic.groups_behind(model, prune.find_units(model, pictures().inputs[:1]), LAYER)[:1]
    name = units[0].name

    def margin(model, images, labels):
        return nn.functional.multi_margin_loss(model(images), labels, margin=20.0)

    for options in ({"criterion": "taylor", "loss": margin}, {"criterion": "random", "seed": 5}):
        first = class_scores(model, units, pictures(), classes=CLASSES, **options)[0][name]
        rows = data.Split(*(part[pictures().targets == 0] for part in pictures()))
        criterion, rest = options["criterion"], {key: options[key] for key in options if key != "criterion"}
        raw = prune.score(model, units, criterion, rows, **rest)[name]
        assert torch.allclose(first, raw / raw.abs().sum())
        assert not torch.allclose(first, class_scores(model, units, rows, classes=1, criterion=criterion)[0][name])
    mine = prune.Criterion("mine", {"channels": lambda evidence: {g.name: torch.ones(g.size) for g in evidence.groups}})
    assert class_scores(model, units, pictures(), classes=CLASSES, criterion=mine)[3].criterion == "mine by sum"


def test_sets_hold_what_is_doubted_together():
    logits = torch.full((60, 4), -5.0)
    logits[:30, [0, 2]] = torch.tensor([2.0, 1.9])
    logits[30:, [1, 3]] = torch.tensor([1.9, 2.0])
    assert class_sets(logits, 2) == [(0, 2), (1, 3)]
    assert class_sets(logits, 1) == [(0, 1, 2, 3)]
    assert class_sets(logits, 4) == [(0,), (1,), (2,), (3,)]
    with pytest.raises(ValueError, match="count must be 1 to 4, the number of classes, got 5"):
        class_sets(logits, 5)


def test_at_threshold_one_no_image_leaves_however_sure():
    sure = torch.tensor([[40.0, 0.0], [0.0, 0.0]]).softmax(1).amax(1)
    assert sure[0] == 1, "rounded"
    assert dynamic.exits_early(sure, 1.0).tolist() == [False, False]
    assert dynamic.exits_early(sure, 0.5).tolist() == [True, True]


@pytest.mark.parametrize("lost", [0.0, 2.0, 100.0])
def test_the_threshold_is_the_lowest_that_loses_no_more(network, lost):
    split = pictures("validation", 300)

    def accuracy(threshold: float) -> float:
        tried = Dynamic(network.trunk, network.branch, network.tails, network.sets, threshold)
        return measure.accuracy(tried, split, in_sample=True)

    chosen, late = choose_threshold(network, split, lost), accuracy(1.0)
    assert late - accuracy(chosen) <= lost + 1e-9
    sure = measure.predict(nn.Sequential(network.trunk, network.branch), split.inputs).softmax(1).amax(1)
    lower = sorted({value for value in sure.tolist() if value < chosen})
    for threshold in lower[:: max(1, len(lower) // 8)]:
        assert late - accuracy(threshold) > lost, "every lower one loses more"


def test_bad_parts_are_named(network):
    parts = network.trunk, network.branch
    with pytest.raises(ValueError, match="tails must be one for each of 2 sets, got 1"):
        Dynamic(*parts, network.tails[:1], network.sets, 0.5)
    with pytest.raises(ValueError, match="sets must hold every class once"):
        Dynamic(*parts, network.tails, [(0, 1), (1, 2)], 0.5)
    for threshold in (0, 1.5):
        with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\]"):
            Dynamic(*parts, network.tails, network.sets, threshold)
        before = network.threshold
        with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\]"):
            network.threshold = threshold
        assert network.threshold == before
    with pytest.raises(ValueError, match="lost must be at least 0 points"):
        choose_threshold(network, pictures(), -1)
    with pytest.raises(ValueError, match="trunk must give maps"):
        dynamic.fit_branch(nn.Flatten(), pictures(), classes=10)


def test_a_group_before_the_layer_is_refused(model):
    units = prune.find_units(model, pictures().inputs[:1])
    by_class = class_scores(model, units, pictures(), classes=CLASSES, criterion="taylor")
    with pytest.raises(ValueError, match=r"which does not lie behind 'features.3'"):
        cut_tails(model, LAYER, [tuple(range(10))], by_class, pictures(), cost_target=0.5)


def test_tuning_tails_leaves_trunk_and_branch_alone(network, model):
    train, given = pictures("train", 400), copy.deepcopy(network)
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    late = Dynamic(given.trunk, given.branch, given.tails, given.sets, 1.0)
    teacher = distill.freeze(model)

    def apart() -> float:
        return distill.soft_targets(
            measure.predict(late, train.inputs), measure.predict(teacher, train.inputs), 2.0
        ).item()

    first = apart()
    told = distill.transfer(teacher, train, copies=2, augment=flip_and_shift)
    with pytest.raises(ValueError, match=r"images of told go to the tail for \(.*\), less than one batch of 401"):
        dynamic.tune_tails(given, teacher, told, epochs=6, batch_size=401)
    assert apart() == first
    dynamic.tune_tails(given, teacher, told, epochs=6, lr=3e-3, batch_size=20, progress=False)
    for name, tensor in given.state_dict().items():
        if not name.startswith("tails."):
            assert torch.equal(tensor, before[name]), name
    assert apart() < 0.8 * first
