"""Explanations of tables, sequences, tokens and several inputs, and of models of any output."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.cases.nets import images, net
from xaiprune import explain
from xaiprune.explain import METHODS, completeness, drift, heatmaps, integrated_gradients, reinitialised

GRADIENTS = ("saliency", "gradient x input", "smoothgrad", "integrated gradients", "lrp")
COVERS = ("occlusion", "shapley")


def drawn(*shape) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def tokens(*shape) -> torch.Tensor:
    return torch.randint(0, 20, shape, generator=torch.Generator().manual_seed(1))


def text() -> nn.Module:
    def forward(m, ids, mask=None):
        read = m.b(m.a(ids)).relu()
        return m.c(read.mean(1) if mask is None else (read * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))

    return net(forward, nn.Embedding(20, 8), nn.Linear(8, 12), nn.Linear(12, 3))


def with_places() -> nn.Module:
    """Tokens and their places have an embedding each, and the tokens a second one."""

    def forward(m, ids):
        read = m.a(ids) + m.b(torch.arange(ids.shape[1]).expand_as(ids))
        return m.d(torch.cat([m.c(read).relu(), m.e(ids)], -1).mean(1))

    layers = nn.Embedding(20, 8), nn.Embedding(7, 8), nn.Linear(8, 12), nn.Linear(16, 3), nn.Embedding(20, 4)
    return net(forward, *layers)


def mixed() -> nn.Module:
    forward = lambda m, x, t: m.c(torch.cat([m.a(x).relu().mean((2, 3)), m.b(t).relu()], 1))  # noqa: E731
    return net(forward, nn.Conv2d(3, 4, 3), nn.Linear(6, 4), nn.Linear(8, 3))


def recurrent() -> nn.Module:
    return net(lambda m, x: m.b(m.a(x)[0][:, -1]), nn.GRU(5, 8, batch_first=True), nn.Linear(8, 3))


def dense(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers).eval()


class Named(nn.Module):
    """A model with names for its inputs."""

    def __init__(self):
        super().__init__()
        self.inner = text()
        self.eval()

    def forward(self, ids, mask):
        return self.inner(ids, mask)


torch.manual_seed(0)  # the models below have these weights
MASK = torch.ones(5, 7, dtype=torch.long)
#: A model, its inputs, the shape of its heatmaps, and the methods that cannot be asked.
KINDS = {
    "table": (dense(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)), drawn(5, 6), (5, 6), ()),
    "one-column table": (dense(nn.Linear(1, 9), nn.ReLU(), nn.Linear(9, 3)), drawn(5, 1), (5, 1), ()),
    "sequence": (recurrent(), drawn(5, 7, 5), (5, 7, 5), ("lrp",)),
    "signal": (
        dense(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)),
        drawn(5, 4, 9),
        (5, 4, 9),
        (),
    ),
    "volume": (
        dense(nn.Conv3d(2, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
        drawn(5, 2, 3, 3, 3),
        (5, 2, 3, 3, 3),
        (),
    ),
    "normalised images": (
        dense(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)),
        drawn(5, 3, 8, 8),
        (5, 8, 8),
        (),
    ),
    "tokens": (text(), tokens(5, 7), (5, 7), ()),
    "tokens and places": (with_places(), tokens(5, 7), (5, 7), ()),
    "tokens and mask": (text(), (tokens(5, 7), MASK), (5, 7), ()),
    "tokens by name": (Named(), {"mask": MASK, "ids": tokens(5, 7)}, (5, 7), ()),
}
EVERY = [(kind, name) for kind in KINDS for name in (*GRADIENTS, *COVERS) if name not in KINDS[kind][3]]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_heatmaps_have_the_shape_of_the_inputs_whatever_the_batches(kind, name):
    model, inputs, shape, _ = KINDS[kind]
    options = {"samples": 4} if name in ("smoothgrad", "shapley") else {}
    found = heatmaps(model, inputs, None, name, **options)
    assert found.shape == shape
    assert torch.isfinite(found).all()
    assert found.abs().max() > 0
    if name not in ("smoothgrad", "shapley"):  # which draw
        assert torch.allclose(heatmaps(model, inputs, None, name, batch_size=2), found, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_integrated_gradients_are_complete(kind):
    model, inputs, _, _ = KINDS[kind]
    found = integrated_gradients(model, inputs, steps=200)
    assert completeness(model, inputs, None, found).median() <= 0.02


@pytest.mark.parametrize("kind", ["table", "signal", "tokens", "tokens and mask"])
def test_shapley_values_are_complete(kind):
    model, inputs, _, _ = KINDS[kind]
    found = explain.shapley(model, inputs, samples=2)
    assert completeness(model, inputs, None, found).max() <= 1e-3


def test_tokens_are_explained_as_their_embeddings_are():
    model, ids = text(), tokens(5, 7)
    behind = net(lambda m, e: model.c(model.b(e).relu().mean(1)), nn.Identity())
    embedded = model.a(ids).detach()
    targets = model(ids).argmax(1)
    for name in ("gradient x input", "integrated gradients", "lrp"):
        wanted = heatmaps(behind, embedded, targets, name).sum(-1)
        assert torch.allclose(heatmaps(model, ids, None, name), wanted, atol=1e-5), name
    lost = []
    with torch.no_grad():
        for place in range(7):
            covered = embedded.clone()
            covered[:, place] = 0
            lost.append((behind(embedded) - behind(covered)).gather(1, targets[:, None])[:, 0])
    assert torch.allclose(explain.occlusion(model, ids), torch.stack(lost, 1), atol=1e-5)


def test_a_table_is_explained_by_hand():
    linear = nn.Linear(4, 3).eval()
    x, targets = drawn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    wanted = x * linear.weight[targets]
    for name in ("gradient x input", "integrated gradients", "occlusion", "shapley", "lrp"):
        assert torch.allclose(heatmaps(linear, x, targets, name), wanted, atol=1e-3), name


@pytest.mark.parametrize("name", GRADIENTS)
def test_several_inputs_have_a_heatmap_each(name):
    model, x, t = mixed(), drawn(5, 3, 8, 8), drawn(5, 6)
    found = heatmaps(model, (x, t), None, name)
    assert [maps.shape for maps in found] == [(5, 8, 8), (5, 6)]
    if name in ("saliency", "gradient x input"):
        leaf = t.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x, leaf).amax(1).sum(), leaf)
        wanted = gradient.abs() if name == "saliency" else t * gradient
        assert torch.allclose(found[1], wanted, atol=1e-6)
    named = copy.copy(model)
    named.forward = lambda picture, table: model(picture, table)
    by_name = heatmaps(named, {"table": t, "picture": x}, None, name)
    assert set(by_name) == {"table", "picture"}
    if name != "smoothgrad":
        assert torch.allclose(by_name["table"], found[1], atol=1e-5)


@pytest.mark.parametrize("name", COVERS)
def test_what_cannot_be_covered_is_refused_with_the_way_out(name):
    with pytest.raises(ValueError, match=r"images are several inputs.* take a method by gradients"):
        heatmaps(mixed(), (drawn(5, 3, 8, 8), drawn(5, 6)), None, name)
    option = {"occlusion": "window", "shapley": "patch"}[name]
    with pytest.raises(ValueError, match=f"{option} is for images"):
        heatmaps(*KINDS["table"][:2], None, name, **{option: 2})
    with pytest.raises(ValueError, match=r"must have shape \(N, C, H, W\).* name a method that takes them"):
        explain.coarse_occlusion(*KINDS["table"][:2])


def test_whole_numbers_without_an_embedding_are_refused():
    counting = net(lambda m, x: m.a(x.float()), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"no nn\.Embedding of the model reads them.* Give the numbers as floats"):
        explain.saliency(counting, tokens(5, 4))
    with pytest.raises(TypeError, match=r"images must be a float tensor, or tokens .* got torch\.uint8"):
        explain.saliency(KINDS["normalised images"][0], torch.zeros(5, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"or the one that the model takes, got \(5, 7\)"):
        explain.saliency(KINDS["table"][0], drawn(5, 7))
    with pytest.raises(ValueError, match="must give one answer for each input"):
        explain.saliency(net(lambda m, x: m.a(x.repeat(2, 1)), nn.Linear(4, 3)), drawn(5, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_drift_of_any_inputs(kind):
    model, inputs, _, _ = KINDS[kind]
    if kind == "one-column table":
        return  # one number has no pattern
    method = METHODS["gradient x input"]
    assert drift(model, model, inputs, method=method).value == 0
    other = drift(model, reinitialised(model, 1), inputs, method=method, likeness="cosine")
    assert other.value > 0
    assert "Drift by" in repr(other)


def outputs_of(inner: nn.Module) -> dict[str, tuple[nn.Module, object]]:
    return {
        "dictionary": (net(lambda m, x: {"logits": m.a(x), "x": x}, inner), "logits"),
        "tuple": (net(lambda m, x: (x, m.a(x)), inner), 1),
        "function": (net(lambda m, x: {"all": [m.a(x)]}, inner), lambda found: found["all"][0]),
    }


@pytest.mark.parametrize("form", ["dictionary", "tuple", "function"])
@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if not row.attention])
def test_every_method_explains_the_part_that_is_meant(name, form):
    inner, x = KINDS["normalised images"][0], images(3, 3, 8, 8)
    model, output = outputs_of(inner)[form]
    assert torch.equal(heatmaps(model, x, None, name, output=output), heatmaps(inner, x, None, name))
    assert torch.equal(METHODS[name](model, x, output=output), METHODS[name](inner, x))
    with pytest.raises(ValueError, match=r"model gives no tensor but .* say by output= which part is meant"):
        heatmaps(model, x, None, name)
    assert not model._forward_hooks


@pytest.mark.parametrize("form", ["dictionary", "tuple", "function"])
def test_what_judges_takes_output_too(form):
    inner, x, y = KINDS["normalised images"][0], images(10, 3, 8, 8), torch.arange(10) % 3
    model, output = outputs_of(inner)[form]
    maps = heatmaps(inner, x)
    calls = {
        "drift": lambda m, **o: drift(m, m, x, method="saliency", **o).value,
        "drift by default": lambda m, **o: drift(m, m, x, **o).place,
        "curves": lambda m, **o: explain.curves(m, x, None, maps, steps=4, **o).faithfulness.sum().item(),
        "gate": lambda m, **o: explain.gate(m, x, methods=["saliency"], steps=4, **o)["saliency"].likeness,
        "class test": lambda m, **o: explain.class_test(m, x, method="gradient x input", steps=4, **o).sum().item(),
        "confidence": lambda m, **o: explain.accuracy_and_confidence(m, (x, y), **o)["confidence"],
        "columns": lambda m, **o: [
            f(m) for f in explain.drift_columns(m, x, method="saliency", place=False, **o).values()
        ],
        "faithfulness": lambda m, **o: repr(
            explain.faithfulness(m, x, None, ["saliency"], controls=["random"], class_tested=False, **o)
        ),
        "completeness": lambda m, **o: completeness(m, x, None, maps, **o).sum().item(),
        "scale": lambda m, **o: explain.drift_scale(m, x, method="saliency", **o).chance[0],
    }
    for name, call in calls.items():
        assert call(model, output=output) == call(inner), name
    with pytest.raises(ValueError, match="original gives no tensor"):
        drift(model, inner, x, method="saliency")


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if not row.attention])
def test_no_method_changes_the_inputs_of_a_model_that_works_in_place(name):
    inner = KINDS["normalised images"][0]
    for change in (lambda x: x.sub_(0.5).div_(0.25), lambda x: x.clamp_(0.2, 0.9), lambda x: x.mul_(2).add_(1)):
        model, x = net(lambda m, x, change=change: m.a(change(x)), inner), images(3, 3, 8, 8)
        given = x.clone()
        try:
            found = METHODS[name](model, given)
        except ValueError:  # an operation without a rule for relevance, or in front of one for pixels
            assert "lrp" in name
            continue
        finally:
            assert torch.equal(given, x)
        if name in ("saliency", "gradient x input", "integrated gradients", "occlusion", "coarse occlusion"):
            pure = net(lambda m, x, change=change: m.a(change(x.clone())), inner)
            assert torch.allclose(found, METHODS[name](pure, given), atol=1e-6)


@pytest.mark.parametrize("name", [*GRADIENTS, *COVERS, "coarse occlusion"])
def test_a_model_is_as_it_was(name):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    model[0].weight.requires_grad_(False)
    model[4].register_forward_hook(lambda module, given, found: None)
    before = copy.deepcopy(model.state_dict())
    hooks = [dict(module._forward_hooks) for module in model.modules()]
    METHODS[name](model, images(3, 3, 8, 8))
    with pytest.raises(ValueError, match="targets must be from 0 to 2, got 9"):
        METHODS[name](model, images(3, 3, 8, 8), torch.full((3,), 9))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * 5]
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks
    assert all(p.grad is None for p in model.parameters())
    model[1].train()
    with pytest.raises(ValueError, match="model has a part in training mode, '1'"):
        METHODS[name](model, images(3, 3, 8, 8))
    assert torch.equal(model[1].running_mean, before["1.running_mean"])


def test_one_logit_is_explained_and_judged():
    linear = nn.Linear(4, 1)
    flat = net(lambda m, x: m.a(x)[:, 0], linear)
    x = drawn(5, 4)
    for model in (linear.eval(), flat):
        assert torch.allclose(explain.gradient_x_input(model, x), x * linear.weight, atol=1e-6)
    pictures = dense(nn.Flatten(), nn.Linear(16, 1))
    shown = images(6, 1, 4, 4)
    maps = explain.gradient_x_input(pictures, shown)
    found = explain.curves(pictures, shown, None, maps, steps=4)
    assert found.deletion.std() > 0  # softmax of one logit would always be 1
    assert found.faithfulness.mean() > 0


def test_maps_are_explained_by_a_mean():
    maps, x = nn.Conv2d(3, 4, 3).eval(), images(3, 3, 8, 8)
    with pytest.raises(ValueError, match=r"it has no classes; or say by output= which number there is for each class"):
        explain.saliency(maps, x)
    found = explain.gradient_x_input(maps, x, output=lambda found: found.mean((2, 3)))
    wanted = explain.gradient_x_input(dense(maps, nn.AdaptiveAvgPool2d(1), nn.Flatten()), x)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_bfloat16_is_explained():
    model = copy.deepcopy(KINDS["normalised images"][0]).bfloat16()
    for name in (*GRADIENTS[:4], *COVERS, "coarse occlusion"):
        assert torch.isfinite(METHODS[name](model, images(3, 3, 8, 8).bfloat16())).all(), name
