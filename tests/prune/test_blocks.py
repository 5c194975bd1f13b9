"""Whole blocks as units, and the criteria that rank them."""

import pytest
import torch
import torchvision
from torch import nn

from xaiprune import zoo
from xaiprune.data import Split
from xaiprune.prune import (
    CRITERIA,
    KINDS,
    Plan,
    cut,
    cut_error,
    find_blocks,
    find_units,
    load_cut,
    masked,
    plan,
    save_cut,
    score,
)
from xaiprune.training import classification_loss


class Residual(nn.Module):
    """Input plus a correction."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(width, 6, 1), nn.ReLU(), nn.Conv2d(6, width, 1))

    def forward(self, x):
        return x + self.inner(x)


def small(blocks: int = 3) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 4, 3), *(Residual(4) for _ in range(blocks))]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def split(images):
    return Split(images, torch.arange(20) % 3)


def blocks_of(model, images):
    return find_blocks(model, images[:1], kinds=["Residual"])


def test_mobilenet_has_ten_blocks_that_can_go():
    model = zoo.mobilenet()
    model.train()
    (group,) = find_blocks(model, torch.rand(1, 1, 28, 28))
    assert [int(name.partition(".")[2]) for name in group.blocks] == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    assert all(model.get_submodule(name).use_res_connect for name in group.blocks)
    assert all(module.training for module in model.modules())
    assert "features.3 can pass its input on" in str(group)


def test_too_few_blocks_are_an_error(images):
    with pytest.raises(ValueError, match="model has 1 residual blocks of classes Residual"):
        find_blocks(small(1), images, kinds=["Residual"])


def test_mask_and_cut_agree_alone_and_beside_channels(images):
    model = small()
    units = find_units(model, images[:1]) + blocks_of(model, images)
    before = model(images)
    chosen = Plan(tuple(units), {"0": [1], "1.inner.0": [0, 3], "2.inner.0": [2], "blocks": [1]})
    assert chosen.blocks == ("2",)
    assert cut_error(model, chosen, images) <= 1e-6
    assert torch.equal(model(images), before)
    smaller = cut(model, chosen)
    assert isinstance(smaller[2], nn.Identity)
    only = Plan(tuple(units), {"blocks": [0, 2]})
    with masked(model, only):
        by_hand = model[4:](model[2](model[0](images)))
        assert torch.allclose(model(images), by_hand, atol=1e-6)


def test_what_stands_in_for_a_block_is_in_its_mode(images):
    model = small()
    chosen = Plan(tuple(blocks_of(model, images)), {"blocks": [1]})
    assert not any(module.training for module in cut(model, chosen).modules())
    assert all(module.training for module in cut(model.train(), chosen).modules())


def test_a_cut_with_blocks_is_kept_bit_for_bit(images, tmp_path):
    model = small()
    units = find_units(model, images[:1]) + blocks_of(model, images)
    chosen = Plan(tuple(units), {"0": [1], "2.inner.0": [2], "blocks": [1]})
    assert Plan.from_json(chosen.to_json()) == chosen
    smaller = cut(model, chosen)
    save_cut(smaller, chosen, tmp_path / "small")
    assert torch.equal(load_cut(small, tmp_path / "small")(images), smaller(images))
    with pytest.raises(ValueError, match="it still has the block '2'"):
        save_cut(cut(model, Plan(chosen.groups, {"0": [1]})), chosen, tmp_path / "other")
    with pytest.raises(ValueError, match="there is no block '3'"):
        cut(small(2), Plan(tuple(blocks_of(model, images)), {"blocks": [2]}))


@pytest.mark.parametrize("name", [name for name, row in CRITERIA.items() if row.ranks(KINDS["blocks"])])
def test_every_criterion_for_blocks_gives_one_finite_number(name, images, split):
    model = small()
    scores = score(model, blocks_of(model, images), name, split)
    assert scores["blocks"].shape == (3,)
    assert len(plan(scores, k=2)) == 2
    with pytest.raises(ValueError, match="nearest feasible k is 2"):
        plan(scores, k=3)


def test_ablation_is_the_loss_without_the_block(images, split):
    model = small()
    group = blocks_of(model, images)
    found = score(model, group, "ablation", split)["blocks"]
    for unit in range(3):
        without = cut(model, Plan(tuple(group), {"blocks": [unit]}))
        rise = classification_loss(without, *split) - classification_loss(model, *split)
        assert found[unit].item() == pytest.approx(rise.item(), abs=1e-6)


def test_taylor_and_fisher_are_derivatives_of_a_gate_image_by_image(images, split):
    model = small().double()
    split = Split(split.inputs.double(), split.targets)
    group = blocks_of(model, images.double())
    gates = [torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(3)]
    slopes = []
    for image, label in zip(split.inputs, split.targets):
        hidden = model[0](image[None])
        for gate, block in zip(gates, model[1:4]):
            hidden = hidden + gate * block.inner(hidden)
        loss = nn.functional.cross_entropy(model[4:](hidden), label[None])
        slopes.append(torch.stack(torch.autograd.grad(loss, gates)))
    slopes = torch.stack(slopes)
    assert torch.allclose(score(model, group, "taylor", split)["blocks"], slopes.abs().mean(0))
    assert torch.allclose(score(model, group, "fisher", split)["blocks"], slopes.square().mean(0) / 2)


def test_a_criterion_that_does_not_rank_blocks_says_so(images, split):
    model = small()
    with pytest.raises(ValueError, match="'relevance' does not rank whole blocks, such as 'blocks'"):
        score(model, blocks_of(model, images), "relevance", split)


def test_shuffle_nets_blocks_are_no_corrections_and_one_kind_may_be_a_string(images):
    with pytest.raises(ValueError, match="model has 0 residual blocks"):
        find_blocks(torchvision.models.shufflenet_v2_x0_5(), torch.rand(1, 3, 64, 64))
    model = zoo.mobilenet().eval()
    assert find_blocks(model, images[:1], "InvertedResidual")[0].blocks == find_blocks(model, images[:1])[0].blocks
