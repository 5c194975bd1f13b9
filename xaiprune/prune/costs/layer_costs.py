"""What the layers of a pruned model cost, told from the plan alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...core import evaluating
from ...graph import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS, reading
from ...measure import macs
from ...nn import Attention
from ..units import Plan, UnitGroup, check_groups, inside, is_grouped


@dataclass(frozen=True)
class Layer:
    """A layer that computes, at its full width.

    Attributes
    ----------
    name : str
    reads, makes : int
        Channels in and out.
    grouped : bool
        Whether channels pass in groups: then ``reads`` and ``makes`` shrink together.
    macs : int
        Multiply-accumulate operations per image.
    shape : tuple of int
        Of the input, without the batch.
    """

    name: str
    reads: int
    makes: int
    grouped: bool
    macs: int
    shape: tuple[int, ...]


class Costs:
    """A cost that adds up over layers, as a function of what a plan leaves of them.

    Parameters
    ----------
    groups : sequence of UnitGroup
        Units that plans may remove.
    layers : sequence of Layer
    curves : mapping of str to callable
        Layer's name to ``(channels read, channels made) -> cost``.
    fixed : float
        Of everything else.
    measured_in : str
        As printed: ``MACs``, ``us``.

    Attributes
    ----------
    total : float
        Of the whole model.
    """

    def __init__(
        self,
        groups: Sequence[UnitGroup],
        layers: Sequence[Layer],
        curves: Mapping[str, Callable[[float, float], float]],
        *,
        fixed: float = 0.0,
        measured_in: str = "MACs",
    ):
        self.groups = tuple(check_groups(groups).values())
        self.layers = {layer.name: layer for layer in layers}
        self.curves, self.fixed, self.measured_in = curves, fixed, measured_in
        self._touched: dict[str, dict[str, dict[str, int]]] = {}  # layer to role to group to slices per unit
        self._of_group: dict[str, set[str]] = {group.name: set() for group in self.groups}
        for group in self.groups:
            for member in group.members:
                if member.module in self.layers:
                    roles = self._touched.setdefault(member.module, {}).setdefault(member.role, {})
                    roles[group.name] = roles.get(group.name, 0) + member.index.shape[1]
                    self._of_group[group.name].add(member.module)
        self.total = self.of({})

    def of(self, plan: Plan | Mapping[str, Sequence[int]]) -> float:
        """Cost of the model that a plan leaves.

        Parameters
        ----------
        plan : Plan or mapping of str to sequence of int
            Group name to the units that go.

        Returns
        -------
        float
            In the unit of the costs.

        Raises
        ------
        ValueError
            If units go from a group that these costs were not made for.
        """
        removed = plan.removed if isinstance(plan, Plan) else plan
        self._check_known(name for name, units in removed.items() if len(units))
        counts = _counts(removed)
        gone = [group.blocks[u] for group in self.groups if group.blocks for u in removed.get(group.name, ())]
        names = [name for name in self.layers if not inside(name, gone)] if gone else self.layers
        return self.fixed + sum(self._layer(name, counts) for name in names)

    def relaxed(self, counts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Cost as a function of how many units go from each group, which may be fractions and carry gradients.

        Parameters
        ----------
        counts : mapping of str to torch.Tensor
            Group name to a scalar. For costs whose curves are formulas, as those of :func:`mac_costs` are.

        Returns
        -------
        torch.Tensor
            A scalar, in the unit of the costs.

        Raises
        ------
        ValueError
            For a group that these costs were not made for.
        """
        self._check_known(counts)
        total = torch.zeros(()) + self.fixed
        for name, layer in self.layers.items():
            less_in, less_out = self._lost(name, counts)
            total = total + self.curves[name](layer.reads - less_in, layer.makes - less_out)
        return total

    def share(self, plan: Plan | Mapping[str, Sequence[int]]) -> float:
        """Cost that is left, as a share of the whole model's.

        Parameters
        ----------
        plan : Plan or mapping of str to sequence of int
            As for :meth:`of`.

        Returns
        -------
        float
            In [0, 1].
        """
        return self.of(plan) / self.total

    def by_layer(self, plan: Plan | None = None) -> dict[str, float]:
        """Cost of every layer of the whole model, or of what a plan leaves of it.

        Parameters
        ----------
        plan : Plan, optional
            Default the whole model.

        Returns
        -------
        dict of str to float
            Layer to its cost, in the unit of the costs.
        """
        counts, gone = ({}, ()) if plan is None else (_counts(plan.removed), plan.blocks)
        return {name: 0.0 if inside(name, gone) else self._layer(name, counts) for name in self.layers}

    def widths(self, plan: Plan) -> list[dict]:
        """A row per layer: ``layer``, ``makes`` (channels of the original), ``kept``, and ``gone`` with its block.

        Parameters
        ----------
        plan : Plan

        Returns
        -------
        list of dict
            In the order of execution.
        """
        counts = _counts(plan.removed)
        return [
            {
                "layer": name,
                "makes": layer.makes,
                "kept": layer.makes - self._lost(name, counts)[1],
                "gone": inside(name, plan.blocks),
            }
            for name, layer in self.layers.items()
        ]

    def per_unit(self) -> dict[str, np.ndarray]:
        """What one unit of each group costs in the whole model.

        A block costs what its layers cost. Of units that are alike, three quarters of the group are taken away in
        thought, and the difference is shared out: a single unit is below what can be measured. No unit costs less than
        a hundredth of its share in the layers that it touches.

        Returns
        -------
        dict of str to numpy.ndarray
            Group name to shape ``(units,)``.
        """
        found, by_layer = {}, self.by_layer()
        for group in self.groups:
            own = group.kind.unit_costs(group, by_layer)
            found[group.name] = self._shared_out(group) if own is None else own
        return found

    def _shared_out(self, group: UnitGroup) -> np.ndarray:
        count, names = max(1, 3 * group.size // 4), self._of_group[group.name]
        whole = sum(self._layer(name, {}) for name in names)
        saved = whole - sum(self._layer(name, {group.name: count}) for name in names)
        return np.full(group.size, max(saved / count, 0.01 * whole / group.size))

    def __repr__(self) -> str:
        return f"Costs: {self.total:,.0f} {self.measured_in} in {len(self.layers)} layers"

    def _check_known(self, names: Iterable[str]) -> None:
        if unknown := [name for name in names if name not in self._of_group]:
            raise ValueError(f"plan removes units of {unknown[0]!r}, a group that these costs were not made for.")

    def _layer(self, name: str, counts: Mapping[str, int]) -> float:
        layer, (less_in, less_out) = self.layers[name], self._lost(name, counts)
        return float(self.curves[name](layer.reads - less_in, layer.makes - less_out))

    def _lost(self, name: str, counts: Mapping[str, int]) -> tuple[int, int]:
        """Channels in and out that a layer loses."""
        lost = {
            role: sum(each * counts.get(group, 0) for group, each in groups.items())
            for role, groups in self._touched.get(name, {}).items()
        }
        grouped = self.layers[name].grouped
        return lost.get("through" if grouped else "in", 0), lost.get("through" if grouped else "out", 0)


def _counts(removed: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Units that go from each group."""
    return {name: len(units) for name, units in removed.items()}


def computing_layers(model: nn.Module, example: torch.Tensor) -> list[Layer]:
    """Convolutions, dense layers and attention in the order in which they first run, from one pass of an example.

    A layer that runs several times has the operations of all its runs. Those of an attention are its two products of
    tokens with tokens; its dense layers are rows of their own.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    example : torch.Tensor
        A batch, shape (N, ...), of which the first input is run.

    Returns
    -------
    list of Layer

    Raises
    ------
    ValueError
        If the model is in training mode.

    Examples
    --------
    >>> [layer] = xp.prune.computing_layers(nn.Conv2d(1, 4, 3).eval(), torch.zeros(1, 1, 5, 5))
    >>> layer.reads, layer.makes, layer.macs  # 4 filters of 3 x 3 at 3 x 3 places
    (1, 4, 324)
    """
    evaluating(model)
    kinds = (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, nn.Linear, Attention)
    modules = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    found: dict[str, Layer] = {}

    def see(name: str, inputs: tuple, output: torch.Tensor) -> None:
        module = modules[name]
        if isinstance(module, nn.Linear):
            reads, makes = module.in_features, module.out_features
            work = inputs[0].numel() * makes
        elif isinstance(module, Attention):
            reads = makes = module.output.in_features
            work = 2 * len(inputs[0]) * inputs[0].shape[1] ** 2 * makes
        else:
            reads, makes = module.in_channels, module.out_channels
            passed, channels = (inputs[0], reads) if isinstance(module, TRANSPOSED_CONVOLUTIONS) else (output, makes)
            work = module.weight.numel() * (passed.numel() // channels)
        before = found[name].macs if name in found else 0
        together = is_grouped(module) or isinstance(module, Attention)
        found[name] = Layer(name, reads, makes, together, before + work, tuple(inputs[0].shape[1:]))

    with reading(model, modules, see), torch.no_grad():
        model(example[:1])
    return list(found.values())


def mac_costs(model: nn.Module, groups: Sequence[UnitGroup], example: torch.Tensor) -> Costs:
    """Multiply-accumulate operations per image, exact for whole numbers of units.

    What is computed outside of convolutions, dense layers and the zoo's attention is a fixed cost.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    groups : sequence of UnitGroup
    example : torch.Tensor
        An input.

    Returns
    -------
    Costs
        In operations per image.

    Raises
    ------
    ValueError
        If the model is in training mode.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> costs = xp.prune.mac_costs(model, units, torch.zeros(1, 2))
    >>> costs.total, costs.of({"0": [1]})  # 2 x 3 and 3 x 1; then 2 x 2 and 2 x 1
    (9.0, 6.0)
    """
    layers = computing_layers(model, example)

    def curve(layer: Layer) -> Callable[[float, float], float]:
        if layer.grouped:
            return lambda reads, makes: layer.macs * makes / layer.makes
        return lambda reads, makes: layer.macs * (reads / layer.reads) * (makes / layer.makes)

    elsewhere = macs(model, example[:1]) - sum(layer.macs for layer in layers)
    return Costs(groups, layers, {layer.name: curve(layer) for layer in layers}, fixed=elsewhere)
