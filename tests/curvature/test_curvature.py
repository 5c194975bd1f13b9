"""Curvature against brute force: loops over images, the exact Hessian, and minima by linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xaiprune import curvature, data, zoo
from xaiprune.curvature import per_sample
from xaiprune.data import Split
from xaiprune.prune import InverseFisher, Plan, find_weights, masked, plan, score
from xaiprune.prune.scoring import obd_obs
from xaiprune.training import classification_loss, fit


class Twice(nn.Module):
    """A layer that is used twice, and one weight in two layers."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three, self.out = (nn.Linear(6, 6) for _ in range(4))
        self.three.weight = self.two.weight

    def forward(self, images):
        hidden = self.one(self.one(images.flatten(1)).tanh()).tanh()
        return self.out(self.three(self.two(hidden).tanh()))


class Tokens(nn.Module):
    """A dense layer over several places, with a normalisation and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 4)
        self.place = nn.Parameter(torch.randn(2, 5))

    def forward(self, images):
        return self.head(self.norm(self.embed(images.view(-1, 2, 3)) + self.place).tanh().mean(1))


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 3, 2, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Conv2d(3, 6, (2, 1), groups=3),
        nn.Conv2d(6, 4, 1, dilation=2),
        nn.Flatten(),
        nn.LazyLinear(4),
    )


NETS = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)),
    "convolutions": convolutions,
    "used twice": Twice,
    "places": Tokens,
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETS[name]().double()
    model(torch.rand(3, 1, 2, 3, dtype=torch.float64))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
    return model.eval()


def images(count: int = 7) -> Split:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.rand(count, 1, 2, 3, dtype=torch.float64, generator=generator)
    return Split(pictures, torch.randint(0, 4, (count,), generator=generator))


def one_by_one(model: nn.Module, split: Split) -> dict[str, torch.Tensor]:
    """Gradient of each image's own loss, by a loop: (images, *shape) for every parameter."""
    found = {name: [] for name, _ in model.named_parameters()}
    for image, label in zip(split.inputs, split.targets):
        value = classification_loss(model, image[None], label[None])
        for name, gradient in zip(found, torch.autograd.grad(value, list(model.parameters()))):
            found[name].append(gradient)
    return {name: torch.stack(rows) for name, rows in found.items()}


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("name", NETS)
def test_fisher_is_the_brute_force_sum_for_any_batch_size(name, batch_size):
    model, split = made(name), images()
    expected = one_by_one(model, split)
    found = curvature.fisher_diagonal(model, split, classification_loss, batch_size=batch_size)
    assert found.keys() == expected.keys()
    for parameter, gradients in expected.items():
        assert torch.allclose(found[parameter], gradients.square().mean(0), rtol=1e-9, atol=1e-15), parameter


@pytest.mark.parametrize("name", NETS)
def test_gradients_and_other_powers_are_those_of_the_loop(name):
    model, split = made(name), images()
    expected = one_by_one(model, split)
    names = list(expected)
    each = curvature.per_sample_gradients(model, split.inputs, split.targets, classification_loss, names)
    first = curvature.gradient_moments(model, split, classification_loss, power=1)
    for parameter in names:
        assert torch.allclose(each[parameter], expected[parameter], atol=1e-12), parameter
        assert torch.allclose(first[parameter], expected[parameter].abs().mean(0), atol=1e-12), parameter


def test_fisher_of_lenet_is_the_loops_to_one_in_a_million():
    model, split = zoo.load("lenet-5").double(), data.mnist("validation", 40)
    split = Split(split.inputs.double(), split.targets)
    found = curvature.fisher_diagonal(model, split, classification_loss, batch_size=16)
    for name, gradients in one_by_one(model, split).items():
        expected = gradients.square().mean(0)
        assert (found[name] - expected).norm() < 1e-6 * expected.norm(), name


RELUS = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)),
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU6(), nn.MaxPool2d((1, 2)), nn.Flatten(), nn.Linear(3, 4)
    ),
}


@pytest.mark.parametrize("name", RELUS)
def test_gauss_newton_is_the_exact_diagonal_of_a_network_of_relus_without_probes(name):
    torch.manual_seed(0)
    model, split = RELUS[name]().double().eval(), Split(torch.rand(9, 1, 2, 3).double(), torch.arange(9) % 4)
    exact = curvature.exact_hessian(model, split, classification_loss).diagonal()
    found = torch.cat([part.flatten() for part in curvature.gauss_newton_diagonal(model, split, batch_size=4).values()])
    assert exact.norm() > 0
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)


def test_gauss_newton_is_the_fisher_with_labels_drawn_from_the_model():
    torch.manual_seed(0)
    model, split = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval(), images()
    shares = model(split.inputs).softmax(1).detach()
    mean = 0
    for label in range(3):
        for image, share in zip(split.inputs, shares[:, label]):
            one = Split(image[None], torch.tensor([label]))
            gradient = torch.autograd.grad(classification_loss(model, *one), model[1].weight)[0]
            mean += share * gradient.square() / len(shares)
    found = curvature.gauss_newton_diagonal(model, split, names=["1.weight"])["1.weight"]
    torch.testing.assert_close(found, mean)


def test_gauss_newton_wants_logits():
    with pytest.raises(ValueError, match=r"model must give logits of shape \(N, classes\), got \(1, 1\)"):
        curvature.gauss_newton_diagonal(nn.Sequential(nn.Flatten(), nn.Linear(6, 1)).double().eval(), images())


def test_small_chunks_change_nothing(monkeypatch):
    model, split = made("convolutions"), images()
    whole = curvature.fisher_diagonal(model, split, classification_loss)
    monkeypatch.setattr(per_sample, "_CHUNK", 20)
    parts = curvature.fisher_diagonal(model, split, classification_loss)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-15) for name in whole)


def exact_hessian(model: nn.Module, split: Split) -> torch.Tensor:
    """All of it, by torch.func."""
    from torch.func import functional_call, hessian

    names = [name for name, _ in model.named_parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]
    flat = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    def value(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        tensors = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes)}
        return nn.functional.cross_entropy(functional_call(model, tensors, (split.inputs,)), split.targets)

    return hessian(value)(flat)


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


@pytest.fixture(scope="module")
def trained():
    """A small net on digits of 7 x 7 pixels, its calibration data, and its exact Hessian of 970 x 970."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 16), nn.Tanh(), nn.Linear(16, 10))
    fit(model, data.mnist("train", 10_000), classification_loss, epochs=5, lr=1e-2, progress=False)
    split = data.mnist("calibration")
    model, split = model.double(), Split(split.inputs.double(), split.targets)
    return model, split, exact_hessian(model, split)


def test_products_with_the_hessian_are_exact(trained):
    model, split, exact = trained
    product = curvature.HessianProduct(model, split, classification_loss)
    vector, image = next(product.probes(seed=0))
    assert torch.allclose(flat(image), exact @ flat(vector), atol=1e-12)
    assert set(flat(vector).tolist()) == {-1.0, 1.0}


def test_hutchinsons_trace_is_within_two_per_cent(trained):
    model, split, exact = trained
    for seed in range(2):
        found = curvature.hessian_trace(model, split, classification_loss, seed=seed)
        assert found.converged
        assert found.probes >= 30
        assert found.standard_error < 0.005 * abs(found.value)
        assert abs(found.value / exact.trace().item() - 1) < 0.02


def test_hutchinsons_diagonal_is_within_ten_per_cent_at_two_thousand_probes(trained):
    model, split, exact = trained
    found = flat(curvature.hessian_diagonal(model, split, classification_loss, probes=2000))
    assert (found - exact.diagonal()).norm() < 0.1 * exact.diagonal().norm()


def test_the_top_eigenvalue_is_the_largest_in_size(trained):
    model, split, exact = trained
    value, vector = curvature.top_eigenvalue(model, split, classification_loss)
    values = torch.linalg.eigvalsh(exact)
    assert value == pytest.approx(values[values.abs().argmax()].item(), rel=1e-3)
    assert flat(vector).norm().item() == pytest.approx(1)


def test_stopping_rules_on_sequences_that_can_be_checked_by_hand():
    assert curvature.by_relative_change([10, 10, 3]) == 2  # the mean does not move from the first to the second
    assert curvature.by_relative_change([1, 2, 3, 4]) is None
    samples = np.random.default_rng(0).normal(1, 0.1, 1000)
    count = curvature.by_standard_error(samples, 0.005)
    assert 30 <= count < 1000
    assert np.std(samples[:count], ddof=1) / np.sqrt(count) < 0.005 * abs(samples[:count].mean())
    assert np.std(samples[: count - 1], ddof=1) / np.sqrt(count - 1) >= 0.005 * abs(samples[: count - 1].mean())
    assert curvature.by_standard_error([1.0] * 50) == 30
    assert curvature.by_standard_error([1.0, -1.0] * 20) is None


def test_damage_clamps_negative_curvature_and_counts_it():
    model = made("dense")
    diagonal = {"1.weight": torch.full((5, 6), 2.0, dtype=torch.float64)}
    diagonal["1.weight"][0, :3] = -1
    damage = obd_obs.obd(model, diagonal)
    assert damage.clamped == 3
    assert (damage.values["1.weight"][0, :3] == 0).all()
    assert torch.allclose(damage.values["1.weight"][1], model[1].weight[1].detach().square())


@pytest.mark.parametrize("batch_size", [2, 100])
def test_the_inverse_fisher_is_that_of_the_loop_and_of_woodfishers_recursion(batch_size):
    model, split, damping, block = made("dense"), images(), 1e-3, 8
    found = obd_obs.inverse_fisher(
        model, split, classification_loss, names=["1.weight"], block=block, damping=damping, batch_size=batch_size
    )
    rows = one_by_one(model, split)["1.weight"].flatten(1)  # 30 entries: three blocks of 8 and one of 6
    rows = nn.functional.pad(rows, (0, 2)).view(len(split.inputs), 4, block)
    recursive = torch.eye(block, dtype=torch.float64).div(damping).repeat(4, 1, 1)
    for row in rows:
        recursive = obd_obs.with_gradient(recursive, row, len(split.inputs))
    for place in range(4):
        fisher = rows[:, place].T @ rows[:, place] / len(split.inputs) + damping * torch.eye(block, dtype=torch.float64)
        assert torch.allclose(found.blocks["1.weight"][place], fisher.inverse(), rtol=1e-8)
        assert torch.allclose(recursive[place], fisher.inverse(), rtol=1e-8)


@pytest.fixture
def quadratic():
    """A net of one dense layer whose loss around its weights is a known quadratic, in blocks of 6 (one per output)."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 4, bias=False)).double().eval()
    roots = torch.randn(4, 6, 8, dtype=torch.float64)
    hessian = roots @ roots.mT / 8 + 0.05 * torch.eye(6, dtype=torch.float64)
    return model, hessian, InverseFisher({"0.weight": hessian.inverse()}, 0.0, 1)


def loss_of(change: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    return 0.5 * torch.einsum("bi,bij,bj->", change, hessian, change)


def test_surgery_is_the_minimum_of_the_quadratic(quadratic):
    model, hessian, inverse = quadratic
    weight = model[0].weight.detach()
    [group] = find_weights(model)
    gone = [0, 3, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 20]
    moved = obd_obs.surgery(model, Plan((group,), {"0.weight": gone}), inverse)[0].weight.detach()
    mask = torch.zeros(24, dtype=torch.bool)
    mask[gone] = True
    for row, goes in enumerate(mask.view(4, 6)):
        expected, stays = torch.zeros(6, dtype=torch.float64), ~goes
        right = hessian[row][stays] @ weight[row]  # the gradient along the entries that stay is zero there
        expected[stays] = torch.linalg.solve(hessian[row][stays][:, stays], right)
        assert torch.allclose(moved[row], expected, atol=1e-6)
    assert (moved.flatten()[gone] == 0).all()
    assert torch.equal(model[0].weight, weight)


def test_obs_is_what_the_quadratic_rises_by_when_one_weight_goes(quadratic):
    model, hessian, inverse = quadratic
    [group] = find_weights(model)
    saliency = obd_obs.obs(model, inverse)["0.weight"].flatten()
    for entry in range(24):
        moved = obd_obs.surgery(model, Plan((group,), {"0.weight": [entry]}), inverse)[0].weight
        risen = loss_of((moved - model[0].weight).detach(), hessian)
        assert saliency[entry].item() == pytest.approx(risen.item(), abs=1e-9)


def test_obs_in_turn_takes_the_cheapest_weight_again_and_again(quadratic):
    model, hessian, inverse = quadratic
    scores = obd_obs.obs_in_turn(model, inverse)["0.weight"]
    weight = model[0].weight.detach()
    for row in range(4):
        gone, most, before = [], 0.0, 0.0
        for _ in range(6):
            prices = {}
            for entry in set(range(6)) - set(gone):
                stays = [n for n in range(6) if n not in {*gone, entry}]
                best = torch.zeros(6, dtype=torch.float64)
                if stays:
                    right = hessian[row][stays] @ weight[row]
                    best[stays] = torch.linalg.solve(hessian[row][stays][:, stays], right)
                prices[entry] = loss_of((best - weight[row])[None], hessian[row][None]).item()
            entry = min(prices, key=prices.get)
            gone.append(entry)
            most, before = max(most, prices[entry] - before), prices[entry]
            assert scores[row, entry].item() == pytest.approx(most, rel=1e-6)


def test_scores_of_single_weights_are_the_closed_forms(quadratic):
    model, split = made("dense"), images()
    units = find_weights(model)
    gradients = one_by_one(model, split)
    weight = model[1].weight.detach()
    taylor, fisher = (score(model, units, name, split)["1.weight"].view(5, 6) for name in ("taylor", "fisher"))
    assert torch.allclose(taylor, (weight * gradients["1.weight"]).abs().mean(0))
    assert torch.allclose(fisher, (weight * gradients["1.weight"]).square().mean(0) / 2)
    assert torch.allclose(score(model, units, "l2")["1.weight"], weight.abs().flatten())
    bent = curvature.gauss_newton_diagonal(model, split)["1.weight"]
    assert torch.allclose(score(model, units, "obd", split)["1.weight"].view(5, 6), weight.square() * bent / 2)
    other, names = lambda *of: classification_loss(*of), ["1.weight", "3.weight"]
    probed = curvature.hessian_diagonal(model, split, other, probes=100, names=names)
    found = score(model, units, "obd", split, loss=other)["1.weight"].view(5, 6)
    assert torch.allclose(found, weight.square() * probed["1.weight"].clamp(min=0) / 2)
    for name in ("obd", "obs", "random"):
        assert len(plan(score(model, units, name, split), ratio=0.5)) == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": Split(torch.empty(0, 1, 2, 3), torch.empty(0))}, "data is empty"),
        ({"names": ["weight"]}, "names holds 'weight', which is no parameter of the model"),
        ({"loss": lambda m, i, t: m(i).sum(1)}, r"loss must return a scalar tensor, .* it returned \(7,\)"),
        ({"loss": lambda m, i, t: 1.0}, "loss must return a scalar tensor.*float"),
        ({"loss": lambda m, i, t: m(i).sum() * float("nan")}, "of '1.weight' .*not finite"),
    ],
)
@pytest.mark.parametrize("function", ["fisher_diagonal", "hessian_trace", "hessian_diagonal", "inverse_fisher"])
def test_requests_that_make_no_sense_are_refused(function, arguments, message):
    given = {"data": images(), "loss": classification_loss} | arguments
    with pytest.raises(ValueError, match=message):
        getattr(obd_obs if function == "inverse_fisher" else curvature, function)(made("dense"), **given)


def test_a_model_in_training_mode_and_impossible_settings_are_refused():
    model, split = made("dense"), images()
    with pytest.raises(ValueError, match="damping must be positive, got 0"):
        obd_obs.inverse_fisher(model, split, classification_loss, damping=0)
    with pytest.raises(ValueError, match="block must be a whole number of at least 1"):
        obd_obs.inverse_fisher(model, split, classification_loss, block=0)
    with pytest.raises(ValueError, match="probes must be a whole number"):
        curvature.hessian_diagonal(model, split, classification_loss, probes=0)
    with pytest.raises(ValueError, match=r"tolerance must be in \(0, 1\)"):
        curvature.hessian_trace(model, split, classification_loss, tolerance=0)
    inverse = obd_obs.inverse_fisher(model, split, classification_loss, names=["1.weight"])
    with pytest.raises(ValueError, match="inverse does not cover"):
        obd_obs.surgery(model, plan(score(model, find_weights(model), "l1"), k=40), inverse)
    with pytest.raises(ValueError, match=r"call model\.eval"):
        curvature.fisher_diagonal(model.train(), split, classification_loss)


def test_nothing_is_left_on_the_model():
    model, split = made("convolutions"), images()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    curvature.fisher_diagonal(model, split, classification_loss)
    obd_obs.inverse_fisher(model, split, classification_loss)
    curvature.hessian_trace(model, split, classification_loss, most=30)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    with masked(model, plan(score(model, find_weights(model), "l1"), ratio=0.3)):
        pass
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_written_out_hessian_and_the_measured_rises_are_right(trained):
    model, split, exact = trained
    assert torch.allclose(curvature.exact_hessian(model, split, classification_loss), exact, atol=1e-10)
    some = curvature.exact_hessian(model, split, classification_loss, names=["4.bias"])
    assert torch.allclose(some, exact[-10:, -10:], atol=1e-10)
    rises = curvature.measured_rises(model, split, classification_loss, "4.weight")
    whole = classification_loss(model, *split).item()
    [group] = find_weights(model, ["4"])
    with masked(model, Plan((group,), {"4.weight": [37]})):
        assert rises.flatten()[37].item() == pytest.approx(classification_loss(model, *split).item() - whole)
    with pytest.raises(ValueError, match="more than 100: its Hessian is too large"):
        curvature.exact_hessian(model, split, classification_loss, most=100)
