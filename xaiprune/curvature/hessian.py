"""The Hessian without ever writing it down: products with vectors, and what random vectors say of it."""

# In stored tables: Hessian

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..data import Split, as_split, batches
from .per_sample import _Called, check_request, check_scalar

_Tensors = dict[str, torch.Tensor]


class HessianProduct:
    """Products of a loss's Hessian with vectors, by differentiating the gradient a second time (Pearlmutter 1994).

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    data : Split, or data of another form
        The loss is the mean over all these images. The graph of their gradient stays in memory.
    loss : callable
        ``(model, inputs, targets) -> scalar``, a mean over images.
    names : iterable of str, optional
        Parameters to take; default all.

    Raises
    ------
    ValueError
        If data is empty, the model is in training mode, a name does not exist, the loss is not a scalar, or a gradient
        is not finite.

    Examples
    --------
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> product = xp.curvature.HessianProduct(model, data, lambda model, x, y: model(x).square().mean())
    >>> product({"weight": torch.tensor([[1.0, 1.0]])})["weight"].tolist()  # the Hessian is diag(1, 4)
    [[1.0, 4.0]]
    """

    def __init__(self, model: nn.Module, data: Split, loss: Callable, names: Iterable[str] | None = None):
        data = as_split(data, on=model)
        self.names = check_request(model, data, names)
        parameters = dict(model.named_parameters())
        self.parameters = {name: parameters[name] for name in self.names}
        if not all(parameter.requires_grad for parameter in self.parameters.values()):  # frozen ones curve as well
            self.parameters = {name: own.detach().clone().requires_grad_() for name, own in self.parameters.items()}
            model = _Called(model, self.parameters)
        self._gradients = []
        with torch.enable_grad():
            for inputs, targets in batches(data, 1000):
                value = check_scalar(loss(model, inputs, targets)) * (len(inputs) / len(data.inputs))
                gradient = torch.autograd.grad(
                    value, list(self.parameters.values()), create_graph=True, materialize_grads=True
                )
                if bad := [name for name, part in zip(self.names, gradient) if not torch.isfinite(part).all()]:
                    raise ValueError(f"the gradient of {bad[0]!r} is not finite: is the loss NaN or infinite?")
                self._gradients.append(gradient)

    def __call__(self, vector: _Tensors) -> _Tensors:
        """The product with a vector, which has the parameters' names and shapes."""
        directions, total = [vector[name] for name in self.names], None
        for gradient in self._gradients:
            pieces = [(part, v) for part, v in zip(gradient, directions) if part.requires_grad]
            products = [torch.zeros_like(parameter) for parameter in self.parameters.values()]
            if pieces:
                products = torch.autograd.grad(
                    [part for part, _ in pieces],
                    list(self.parameters.values()),
                    [v for _, v in pieces],
                    retain_graph=True,
                    materialize_grads=True,
                )
            total = products if total is None else [a + b for a, b in zip(total, products)]
        return dict(zip(self.names, total))

    def probes(self, seed: int) -> Iterator[tuple[_Tensors, _Tensors]]:
        """Random vectors of +1 and -1 (Rademacher) and the Hessian's products with them, for ever.

        Parameters
        ----------
        seed : int

        Yields
        ------
        vector : dict of str to torch.Tensor
            A sign for every parameter.
        product : dict of str to torch.Tensor
            The Hessian times the vector, of the same shapes.
        """
        generator = torch.Generator().manual_seed(seed)
        while True:
            signs = {
                name: torch.randint(0, 2, p.shape, generator=generator).to(p).mul_(2).sub_(1)
                for name, p in self.parameters.items()
            }
            yield signs, self(signs)


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated from random probes.

    Attributes
    ----------
    value : float
        Mean over the probes.
    standard_error : float
    probes : int
    converged : bool
        Whether the standard error fell below the tolerance before the probes ran out.
    samples : list of float
        One value per probe.
    """

    value: float
    standard_error: float
    probes: int
    converged: bool
    samples: list[float] = field(repr=False)


def hessian_trace(
    model: nn.Module,
    data: Split,
    loss: Callable,
    *,
    names: Iterable[str] | None = None,
    tolerance: float = 0.005,
    least: int = 30,
    most: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Trace of the Hessian by Hutchinson's estimator: the mean of ``v^T H v`` over random signs v.

    Parameters
    ----------
    model, data, loss, names
        As for :class:`HessianProduct`.
    tolerance : float
        Stop when the standard error is below this share of the estimate.
    least, most : int
        Probes that are drawn at least and at most.
    seed : int

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        As for :class:`HessianProduct`, and if the tolerance is not between 0 and 1.

    Examples
    --------
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> xp.curvature.hessian_trace(model, data, lambda model, x, y: model(x).square().mean())
    Estimate(value=5.0, standard_error=0.0, probes=30, converged=True)
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be in (0, 1), got {tolerance:g}.")
    samples: list[float] = []
    for vector, product in HessianProduct(model, data, loss, names).probes(seed):
        samples.append(sum((vector[name] * product[name]).sum(dtype=torch.float64).item() for name in vector))
        done = by_standard_error(samples, tolerance, least) is not None
        if done or len(samples) == most:
            error = float(np.std(samples, ddof=1) / math.sqrt(len(samples))) if len(samples) > 1 else math.inf
            return Estimate(float(np.mean(samples)), error, len(samples), done, samples)
    raise AssertionError("probes never end")


def by_standard_error(samples: Sequence[float], tolerance: float = 0.005, least: int = 30) -> int | None:
    """Number of probes after which the standard error is below ``tolerance`` times the estimate; None if it never is.

    From ``least`` probes on, since the standard error of a few samples is itself a guess.

    Parameters
    ----------
    samples : sequence of float
        One value per probe, in the order in which they were drawn.
    tolerance : float
        Share of the estimate.
    least : int
        Probes that are drawn in any case.

    Returns
    -------
    int or None

    Examples
    --------
    >>> xp.curvature.by_standard_error([4, 6] * 50, tolerance=0.1)
    30
    """
    values = np.asarray(samples, float)
    count = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / count
    spread = np.maximum(np.cumsum(values**2) / count - mean**2, 0) * count / np.maximum(count - 1, 1)
    small = (np.sqrt(spread / count) < tolerance * np.abs(mean)) & (count >= max(least, 2))
    return int(np.argmax(small)) + 1 if small.any() else None


def by_relative_change(samples: Sequence[float], tolerance: float = 1e-3) -> int | None:
    """Number of probes after which the running mean moves by less than ``tolerance`` of itself; None if it never does.

    The rule that most code uses. It asks how small the last *step* was, and steps shrink as 1/n whether or not the mean
    is near the truth.

    Parameters
    ----------
    samples : sequence of float
        One value per probe, in the order in which they were drawn.
    tolerance : float
        Share of the mean.

    Returns
    -------
    int or None

    Examples
    --------
    >>> xp.curvature.by_relative_change([4, 6, 5, 5], tolerance=0.1)  # means 4, 5, 5: the second step is small enough
    3
    """
    values = np.asarray(samples, float)
    mean = np.cumsum(values) / np.arange(1, len(values) + 1)
    small = np.abs(np.diff(mean)) < tolerance * np.abs(mean[:-1])
    return int(np.argmax(small)) + 2 if small.any() else None


def hessian_diagonal(
    model: nn.Module,
    data: Split,
    loss: Callable,
    *,
    names: Iterable[str] | None = None,
    probes: int = 100,
    seed: int = 0,
) -> _Tensors:
    """Diagonal of the Hessian by Hutchinson's estimator: the mean of ``v * (H v)`` over random signs v.

    The error of an entry is the size of the rest of its row over the root of the number of probes (Bekas, Kokiopoulou
    and Saad 2007): it falls slowly, and entries may come out negative where the truth is not.

    Parameters
    ----------
    model, data, loss, names
        As for :class:`HessianProduct`.
    probes : int
    seed : int

    Returns
    -------
    dict of str to torch.Tensor
        Parameter name to a float64 tensor of the parameter's shape.

    Raises
    ------
    ValueError
        As for :class:`HessianProduct`, and if ``probes`` is no whole number from 1.

    Examples
    --------
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> xp.curvature.hessian_diagonal(model, data, lambda model, x, y: model(x).square().mean(), probes=3)
    {'weight': tensor([[1., 4.]], dtype=torch.float64)}
    """
    if not isinstance(probes, int) or probes < 1:
        raise ValueError(f"probes must be a whole number of at least 1, got {probes!r}.")
    product = HessianProduct(model, data, loss, names)
    total = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in product.parameters.items()}
    for _, (vector, row) in zip(range(probes), product.probes(seed)):
        for name, part in total.items():
            part += vector[name] * row[name]
    return {name: part / probes for name, part in total.items()}


def top_eigenvalue(
    model: nn.Module,
    data: Split,
    loss: Callable,
    *,
    names: Iterable[str] | None = None,
    tolerance: float = 1e-4,
    steps: int = 200,
    seed: int = 0,
) -> tuple[float, _Tensors]:
    """Eigenvalue of largest size of the Hessian, and its unit eigenvector, by power iteration.

    Parameters
    ----------
    model, data, loss, names
        As for :class:`HessianProduct`.
    tolerance : float
        Stop when ``|H v - lambda v|`` is below this share of ``|lambda|``, or after ``steps`` products.
    steps : int
    seed : int

    Returns
    -------
    value : float
        With its sign: the Rayleigh quotient of the last vector.
    vector : dict of str to torch.Tensor

    Raises
    ------
    ValueError
        As for :class:`HessianProduct`.

    Examples
    --------
    >>> data = xp.data.Split(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2))
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> value, vector = xp.curvature.top_eigenvalue(model, data, lambda model, x, y: model(x).square().mean())
    >>> round(value, 3), vector["weight"].abs().round(decimals=2).tolist()
    (4.0, [[0.0, 1.0]])
    """
    product = HessianProduct(model, data, loss, names)
    generator = torch.Generator().manual_seed(seed)
    vector = {name: torch.randn(p.shape, generator=generator).to(p) for name, p in product.parameters.items()}
    vector = _scaled(vector, 1 / _norm(vector))
    for _ in range(steps):
        image = product(vector)
        value = sum((vector[name] * image[name]).sum().item() for name in vector)
        length = _norm(image)
        if length == 0 or _norm({n: image[n] - value * vector[n] for n in vector}) < tolerance * abs(value):
            break
        vector = _scaled(image, 1 / length)
    return value, vector


def _norm(vector: _Tensors) -> float:
    return math.sqrt(sum(part.double().square().sum().item() for part in vector.values()))


def _scaled(vector: _Tensors, factor: float) -> _Tensors:
    return {name: part * factor for name, part in vector.items()}
