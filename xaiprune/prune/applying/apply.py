"""Carry a plan out: as a mask that leaves no trace, or as a cut that is really smaller.

Both compute the same function. The mask writes zeros into every slice that the cut would drop; where a layer
averages over units (LayerNorm, GroupNorm), zeros would still count, so there the mask also restricts the
statistics to the units that stay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call

from ...core import packed, save_atomically
from ...data import carries, mark, marked
from ...graph import changing
from ...graph.calls import aligned
from ...graph.folding import computed
from ..units import Plan, axis_of_norm, block_size, copied, inside, layer_of, normalises, size_along
from .names import _in_its_names


@carries
@_in_its_names
def cut(model: nn.Module, plan: Plan, example: torch.Tensor | tuple | Mapping | None = None) -> nn.Module:
    """A smaller copy of the model, without the units that the plan removes.

    Single weights cannot be taken out of a dense tensor: where the units are weights, the copy holds zeros in their
    place and is as large as before.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    plan : Plan
        Made from units of this architecture.
    example : torch.Tensor, tuple or dict, optional
        An input of the model: then the plan's groups are proven on it first, as :func:`find_units` does. For a plan
        that was saved, or made by hand.

    Returns
    -------
    nn.Module
        A copy of ``model`` whose tensors lack the plan's slices and whose layers know their new widths.

    Raises
    ------
    ValueError
        If the plan does not fit the model (the layer is named), or its groups fail the proof.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> smaller = xp.cut(model, xp.prune.Plan(tuple(units), {"0": [1]}))
    >>> smaller[0].weight.shape, smaller[2].weight.shape
    (torch.Size([2, 2]), torch.Size([1, 2]))
    """
    _check_fits(model, plan)
    from .proof import prove  # which masks and cuts

    if example is not None and (refused := prove(model, plan.groups, example).refused):
        name, why = next(iter(refused.items()))
        raise ValueError(
            f"the plan is not right for this model: units of {name!r} cannot go, since {why}. Find them anew with "
            "find_units(model, example), or leave the group out of the plan."
        )
    return _cut(model, plan, {})


def _cut_shared(model: nn.Module, plan: Plan) -> nn.Module:
    """A cut that shares with the model what the plan leaves alone: to look at, not to train."""
    return _cut(model, plan, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def _cut(model: nn.Module, plan: Plan, memo: dict[int, object]) -> nn.Module:
    tensors = _check_fits(model, plan)
    for name, axes in plan.slices.items():
        kept = tensors[name].detach()
        for axis, gone in axes.items():
            if axis is None:
                kept = kept.clone()
                _zero(kept, None, gone)
            else:
                stay = np.delete(np.arange(kept.shape[axis]), gone)
                kept = kept.index_select(axis, torch.as_tensor(stay, device=kept.device))
        kept = _laid_out_as(tensors[name], kept)
        if isinstance(tensors[name], nn.Parameter):
            kept = nn.Parameter(kept, requires_grad=tensors[name].requires_grad)
        memo[id(tensors[name])] = kept
    smaller = copied(model, memo)
    lost: dict[tuple, set[int]] = {}
    for member, gone in plan.members:
        lost.setdefault((member.module, member.counts, member.width), set()).update(gone.tolist())
    for (name, counts, width), gone in lost.items():
        if counts:
            _recount(smaller.get_submodule(name), counts, width - len(gone))
    for group, units in plan.parts:
        group.kind.cut(smaller, group, units)
    return smaller


def _laid_out_as(tensor: torch.Tensor, smaller: torch.Tensor) -> torch.Tensor:
    """The smaller one with channels last in memory, if they are so in the other: convolutions follow that order."""
    if tensor.ndim != 4:
        return smaller
    _, channels, height, width = tensor.shape
    last = tensor.stride() == (channels * height * width, 1, width * channels, channels)  # also where sizes are 1
    return smaller.to(memory_format=torch.channels_last) if last else smaller


def _zero(tensor: torch.Tensor, axis: int | None, gone: np.ndarray) -> None:
    """Write zeros into slices along an axis, or into single entries where the axis is None."""
    gone = torch.as_tensor(gone, device=tensor.device)
    if axis is None:
        tensor.put_(gone, tensor.new_zeros(()).expand(len(gone)))
    else:
        tensor.index_fill_(axis, gone, 0)


def _recount(module: nn.Module, counts: tuple[str, ...], width: int) -> None:
    """Tell a layer its new width."""
    block = block_size(module)  # groups of channels go as a whole
    if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
        module.num_groups = width // block
    for count in counts:
        new = width // block if count == "groups" else width
        setattr(module, count, (width,) if count == "normalized_shape" else new)


@_in_its_names
@contextmanager
def masked(model: nn.Module, plan: Plan) -> Iterator[nn.Module]:
    """Try a plan in place: inside the ``with`` the model computes what the cut model would.

    On the way out, also after an exception, every parameter, buffer, hook and training mode is restored bit
    for bit.

    Parameters
    ----------
    model : nn.Module
    plan : Plan
        Made from units of this architecture.

    Yields
    ------
    nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError
        If the plan does not fit the model (the layer is named); nothing has been changed then.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> with xp.masked(model, xp.prune.Plan(tuple(units), {"0": [1]})):
    ...     print(model[0].weight[1].tolist())
    [0.0, 0.0]
    >>> bool(model[0].weight[1].any())
    True
    """
    with _masked(model, plan, _check_fits(model, plan)), marked(model, plan):
        yield model


@contextmanager
def _masked_shared(model: nn.Module, plan: Plan) -> Iterator[nn.Module]:
    """A mask that puts back what the plan touches, and nothing else: to look at, not to train."""
    tensors = _check_fits(model, plan)
    with _masked(model, plan, {name: tensors[name] for name in plan.slices}):
        yield model


@contextmanager
def _masked(model: nn.Module, plan: Plan, tensors: dict[str, torch.Tensor]) -> Iterator[None]:
    saved = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    modes = {module: module.training for module in model.modules()}
    norms = {name: module for name, module in model.named_modules() if normalises(module)}
    narrower = norms.keys() & {member.module for member, _ in plan.members}
    with ExitStack() as stack:
        stack.callback(_restore, tensors, saved, modes)
        restricted = {name: _restricted(norms[name], plan.stays[name]["through"]) for name in narrower}
        stack.enter_context(changing(model, does=restricted))
        with torch.no_grad():
            for name, axes in plan.slices.items():
                for axis, gone in axes.items():
                    _zero(tensors[name], axis, gone)
        for group, units in plan.parts:
            stack.enter_context(group.kind.mask(model, group, units))
        yield


@_in_its_names
@contextmanager
def keep_zeros(model: nn.Module, plan: Plan) -> Iterator[nn.Module]:
    """Train under a plan of single weights: its zeros are written and stay zero, whatever the optimiser does.

    Unlike :func:`masked` the weights are *not* put back on the way out: what was trained stays, and so do the zeros.
    Only the hooks go. The gradient of a held weight is zero, so make the optimiser inside the ``with``: one that has
    seen the weight move before would carry it on by its momentum.

    Parameters
    ----------
    model : nn.Module
    plan : Plan
        Of single weights. To tune without channels or neurons, train the cut model.

    Yields
    ------
    nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError
        If the plan holds other units, or does not fit the model; nothing has been changed then.
    """
    if other := [group for group in plan.groups if not group.kind.entries]:
        held = f"{other[0].kind.words} ({other[0].name!r})"
        raise ValueError(f"plan holds {held}: cut the model and train the smaller one.")
    tensors = _check_fits(model, plan)
    with ExitStack() as stack, torch.no_grad():
        for name, axes in plan.slices.items():
            _zero(tensors[name], None, axes[None])
            stays = torch.ones_like(tensors[name])
            _zero(stays, None, axes[None])
            stack.callback(tensors[name].register_hook(stays.mul).remove)
        mark(model, plan)
        with torch.enable_grad():
            yield model


@_in_its_names
def save_cut(smaller: nn.Module, plan: Plan, path: Path | str) -> None:
    """Write a cut model as ``PATH.json`` (the plan) and ``PATH.safetensors`` (its state).

    Parameters
    ----------
    smaller : nn.Module
        As :func:`cut` gives it, also trained since.
    plan : Plan
        That it was cut by.
    path : Path or str
        Without a suffix.

    Raises
    ------
    ValueError
        If the model is not the cut of this plan; nothing is written then.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> plan = xp.prune.Plan(tuple(units), {"0": [1]})
    >>> xp.prune.save_cut(xp.cut(model, plan), plan, "small")
    >>> import os
    >>> sorted(os.listdir())
    ['small.json', 'small.safetensors']
    """
    tensors = dict(smaller.named_parameters(remove_duplicate=False))
    tensors |= dict(smaller.named_buffers(remove_duplicate=False))
    for group, units in plan.parts:
        group.kind.check_cut(smaller, group, units)
    stay = [member for member, _ in plan.members if not inside(member.module, plan.blocks)]
    for member in stay:
        for name, axis in member.axes.items():
            wanted = member.width - (0 if axis is None else len(plan.slices[name][axis]))
            if name not in tensors or size_along(tensors[name].shape, axis) != wanted:
                raise ValueError(f"smaller is not the cut of this plan: {name} should keep {wanted} of {member.width}.")
    state = {name: packed(tensor) for name, tensor in smaller.state_dict().items()}  # tied tensors twice
    mark(Plan(plan.groups, plan.removed), plan, smaller).save(_sibling(path, ".json"))
    save_atomically(_sibling(path, ".safetensors"), lambda temporary: save_file(state, temporary))


def load_cut(build: Callable[[], nn.Module], path: Path | str) -> nn.Module:
    """Read a cut model that :func:`save_cut` wrote.

    Parameters
    ----------
    build : callable
        Returns the original architecture, with any weights.
    path : Path or str
        As given to :func:`save_cut`.

    Returns
    -------
    nn.Module
        In evaluation mode.

    Raises
    ------
    ValueError
        If the plan does not fit the architecture or the state does not fit the plan.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> plan = xp.prune.Plan(tuple(units), {"0": [1]})
    >>> xp.prune.save_cut(xp.cut(model, plan), plan, "small")
    >>> xp.prune.load_cut(lambda: nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)), "small")
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=False)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=1, bias=True)
    )
    """
    smaller = cut(build(), Plan.load(_sibling(path, ".json")))
    state = load_file(_sibling(path, ".safetensors"))
    names = aligned(state, smaller.state_dict())  # of a wrapped model, perhaps
    named = OrderedDict((names[name], tensor) for name, tensor in state.items())
    named._metadata = smaller.state_dict()._metadata  # versions, which some modules ask for
    try:
        smaller.load_state_dict(named)
    except RuntimeError as error:
        raise ValueError(f"the state in {path}.safetensors does not fit its plan: {error}") from error
    return smaller.eval()


def cut_error(model: nn.Module, plan: Plan, *inputs: torch.Tensor) -> float:
    """How far mask and cut are apart: ``max|a - b| / max(1, max|a|)`` of their outputs on ``inputs``.

    The law of the kit is that this stays at or below 1e-5 in float32.

    Parameters
    ----------
    model : nn.Module
    plan : Plan
        Of units that can be cut.
    *inputs : torch.Tensor
        What the model takes.

    Returns
    -------
    float
        0 where both are equal.

    Raises
    ------
    ValueError
        If the plan does not fit the model.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> units = xp.find_units(model, torch.zeros(1, 2))
    >>> xp.prune.cut_error(model, xp.prune.Plan(tuple(units), {"0": [1]}), torch.rand(5, 2)) <= 1e-5
    True
    """
    smaller = cut(model, plan)
    with torch.no_grad(), masked(model, plan):
        by_mask, by_cut = model(*inputs), smaller(*inputs)
    return ((by_mask - by_cut).abs().max() / by_mask.abs().max().clamp(min=1)).item()


def _sibling(path: Path | str, ending: str) -> Path:
    return Path(f"{path}{ending}")


def _check_fits(model: nn.Module, plan: Plan) -> dict[str, torch.Tensor]:
    """The model's tensors by name, once the plan's layers are found there in their original width."""
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be a Plan, got {type(plan).__name__}.")
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    for member, _ in plan.members:
        for name, axis in member.axes.items():
            found = tuple(tensors[name].shape) if name in tensors else None
            if found is None or size_along(found, axis) != member.width:
                where = "" if axis is None else f" on axis {axis}"
                others = [other for other in tensors if found is None and other.startswith(f"{member.module}.")]
                told = next(filter(None, (computed(model, other) for other in others)), "but there is no such tensor.")
                raise ValueError(
                    f"the plan does not fit the model: {name} should have {member.width} entries{where}, "
                    + (told if found is None else f"but its shape is {found}.")
                )
    for group, units in plan.parts:
        group.kind.check(model, group, units)
    names: dict[int, str] = {}
    for name in tensors:
        twin = names.setdefault(id(tensors[name]), name)
        if not _same(plan.slices.get(name, {}), plan.slices.get(twin, {})):
            raise ValueError(f"{name} and {twin} share one tensor, but the plan removes other slices from each.")
    return tensors


def _same(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[axis], other[axis]) for axis in one)


def _restore(tensors, saved, modes) -> None:
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])
    for module, mode in modes.items():
        module.training = mode


def _restricted(norm: nn.Module, stay: np.ndarray) -> Callable:
    """What a layer gives that normalises over the kept channels only and leaves zero in the others."""
    width = next((len(tensor) for tensor in norm.parameters()), None)
    smaller = copied(norm, {id(tensor): tensor for tensor in norm.parameters()})
    smaller._forward_pre_hooks.clear()
    smaller._forward_hooks.clear()
    _recount(smaller, layer_of(norm)["through"].counts, len(stay))

    def function(given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        kept = torch.as_tensor(stay, device=output.device)
        axis = axis_of_norm(norm, given.shape, width)
        weights = {name: tensor[kept] for name, tensor in norm.named_parameters()}
        values = functional_call(smaller, weights, given.index_select(axis, kept))
        return torch.zeros_like(output).index_copy(axis, kept, values)

    return function
