"""The proof: what it must see, what it must not let through, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import xaiprune as xp
from xaiprune.prune import Plan, Proof, cut, find_units, prove


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


def shifted(group):
    """The same group with its reader's columns one further: wrong, and of the right shape."""
    first, last = group.members
    return replace(group, members=(first, replace(last, index=np.roll(last.index, 1, axis=0))))


def test_groups_that_are_right_pass_with_their_numbers():
    model = chain()
    units = find_units(model, torch.zeros(1, 6))
    proof = prove(model, units, torch.zeros(1, 6))
    assert isinstance(proof, Proof)
    assert [group.name for group in proof.groups] == ["0", "2"]
    assert proof.difference <= 1e-9
    assert all(moved >= 1e-3 for moved in proof.movement.values())
    assert not proof.refused


def test_a_wrong_group_is_found_among_right_ones():
    model = chain()
    first, second = find_units(model, torch.zeros(1, 6))
    proof = prove(model, [shifted(first), second], torch.zeros(1, 6))
    assert [group.name for group in proof.groups] == ["2"]
    assert "mask and cut differ" in proof.refused["0"]


@pytest.mark.parametrize("hide", ["zero gamma", "tiny scale", "equal weights", "zeros of the example"])
def test_weights_that_hide_a_wrong_cut_hide_nothing(hide):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        if hide == "zero gamma":
            model[1].weight.zero_()
        elif hide == "tiny scale":
            model[1].weight.fill_(1e-6)
        elif hide == "equal weights":
            for parameter in model.parameters():
                parameter.fill_(0.1)
    x = torch.zeros(2, 6)
    [group] = find_units(model, x)
    *others, last = group.members
    wrong = replace(group, members=(*others, replace(last, index=np.roll(last.index, 1, axis=0))))
    assert prove(model, [group], x).groups == [group]
    assert not prove(model, [wrong], x).groups


def test_a_group_that_moves_nothing_is_not_proven():
    class Unheard(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.c(x + 1e-9 * torch.tanh(self.b(torch.tanh(self.a(x)))))

    with pytest.raises(ValueError, match=r"'a' cannot go.*not proven: its units move the output by.*ignore=\['a'\]"):
        find_units(Unheard(), torch.zeros(1, 4))


def test_a_loaded_plan_proves_itself(tmp_path):
    model = chain()
    units = find_units(model, torch.zeros(1, 6))
    Plan(tuple(units), {"0": [1, 4]}).save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert cut(model, loaded, example=torch.zeros(1, 6))[0].out_features == 6

    class Turned(nn.Sequential):
        def forward(self, x):
            return self[4](self[3](self[2](self[1](self[0](x)).flip(-1))))

    with pytest.raises(ValueError, match=r"not right for this model: units of '0' cannot go.*find_units"):
        cut(Turned(*chain()).eval(), loaded, example=torch.zeros(1, 6))


def test_single_weights_have_nothing_to_prove():
    model = chain()
    with pytest.raises(ValueError, match=r"'0\.weight' holds single weights"):
        prove(model, xp.prune.find_weights(model), torch.zeros(1, 6))


def test_blocks_are_proven_too():
    model = xp.zoo.mobilenet(width=0.25).eval()
    blocks = xp.prune.find_blocks(model, torch.zeros(1, 1, 28, 28))
    proof = prove(model, blocks, torch.zeros(1, 1, 28, 28))
    assert proof.groups == blocks
    assert proof.difference <= 1e-9


def test_nothing_of_the_model_changes():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, 3)).train()
    model[3].requires_grad_(False)
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.rand(2, 6)
    kept = x.clone()
    prove(model, find_units(model, x), x)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(x, kept)
    assert all(module.training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == [True] * 4 + [False] * 2
    assert all(parameter.grad is None for parameter in model.parameters())


def test_inputs_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Embedding(9, 6), nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, ids, scale=None):
            return {"logits": self.c(self.b(self.a(ids)).relu().mean(1)) * scale}

    model, x = Named().eval(), {"ids": torch.randint(0, 9, (2, 4)), "scale": torch.ones(2, 1)}
    assert [group.name for group in find_units(model, x)] == ["a", "b"]


def test_numbers_that_a_module_has_written_down_are_cut_with_the_units():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_heads, self.head_dim = 4, 4
            self.qkv, self.out = nn.Linear(8, 48), nn.Linear(16, 3)

        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = self.qkv(x).view(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
            found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
            return self.out(found.reshape(n, t, self.num_heads * self.head_dim))

    model, x = Attention().eval(), torch.rand(2, 5, 8)
    [group] = find_units(model, x)
    assert "has their number in num_heads" in str(group)
    smaller = cut(model, Plan((group,), {group.name: [0, 2]}))
    assert (smaller.num_heads, model.num_heads, smaller.qkv.out_features) == (2, 4, 24)
    assert xp.prune.cut_error(model, Plan((group,), {group.name: [0, 2]}), x) <= 1e-6


def test_an_rms_norm_of_ones_own_keeps_its_meaning_under_a_mask():
    class RMSNorm(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(width) + 0.5)

        def forward(self, x):
            return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    model, x = nn.Sequential(nn.Linear(6, 8), RMSNorm(8), nn.Linear(8, 3)).eval(), torch.rand(4, 6)
    [group] = find_units(model, x)
    assert xp.prune.cut_error(model, Plan((group,), {"0": [1, 2, 6]}), x) <= 1e-6


def test_weights_that_a_function_reads_have_no_gate_and_say_so():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return F.linear(self.a(x).relu(), self.b.weight, self.b.bias)

    model, data = Functional().eval(), xp.data.Split(torch.rand(8, 4), torch.randint(0, 2, (8,)))
    units = find_units(model, data.inputs[:1])
    assert xp.plan(xp.score(model, units, "l2"), k=2).kept == {"a": 4}
    with pytest.raises(ValueError, match=r"'b.weight' reads units in an operation that is no layer.*'l2'"):
        xp.score(model, units, "taylor", data)
