"""Cross-layer equalization and high-bias absorption (Nagel et al. 2019, *Data-Free Quantization*, arXiv 1906.04721).

One step for a whole tensor suits it badly if its channels are of different sizes. A channel between two layers can be
made smaller in the first and larger in the second without a change of what the network computes.
"""

# In stored tables: equalization

from __future__ import annotations

import copy
import inspect
import math
import statistics
from collections import Counter

import torch
from torch import nn
from torch.nn import functional

from ..graph import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS, hooks, plain_calls, traced
from ..graph.calls import check_inputs, inputs_of, run, unwrapped
from ..graph.folding import in_every_graph
from .calibrate import float_copy
from .formats import quantized_layers
from .walk import _by_channel

#: Channels smaller than this part of their layer's largest are dead: nothing is moved to or from them.
DEAD = 1e-8
#: What may lie between two layers that are equalized: it commutes with a positive factor, or is replaced.
_PASSED = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.ZeroPad2d, nn.ReLU)
_PASSED_FUNCTIONS = (functional.relu, functional.relu_, torch.relu, torch.relu_)


class ChannelClamp(nn.Module):
    """``min(max(x, 0), maximum)`` with a maximum for every channel: ReLU6 after its channels were rescaled.

    Parameters
    ----------
    maximum : torch.Tensor
        Shape ``(channels, 1, 1)`` for images, ``(channels,)`` for vectors.
    """

    def __init__(self, maximum: torch.Tensor):
        super().__init__()
        self.register_buffer("maximum", maximum)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clamp every channel between 0 and its maximum.

        Parameters
        ----------
        x : torch.Tensor
            Shape (N, channels, ...).

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        return torch.minimum(x.clamp(min=0), self.maximum)

    def extra_repr(self) -> str:
        return f"{len(self.maximum)} channels, {self.maximum.min():.3g} to {self.maximum.max():.3g}"


def relu_in_place_of_relu6(model: nn.Module) -> nn.Module:
    """A copy of a model with ReLU in the place of every ReLU6: no clamp, and no longer quite the same function.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it stays as it is. Batch normalisation is folded first.

    Returns
    -------
    nn.Module
        Of the same class.
    """
    plain = float_copy(model)
    for name, module in list(plain.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.ReLU6):
            plain.set_submodule(name, nn.ReLU().eval())
    return plain


def channel_spread(model: nn.Module, inputs: object) -> tuple[float, float]:
    """How uneven the channels of a model's layers are: the largest beside the median one, median over layers.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, with batch normalisation folded; not changed.
    inputs : torch.Tensor, a tuple or dictionary of tensors, Split, Dataset or DataLoader
        As for :func:`calibrate`; they go through at once.

    Returns
    -------
    weights, activations : float
        By the largest size in each output channel of the weights, and in each channel that a layer reads; 1 where all
        are alike.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [8.0, 0.0]]))
    >>> xp.quantize.channel_spread(model, torch.tensor([[1.0, 3.0]]))  # the lower of two is the median
    (8.0, 3.0)
    """
    model = unwrapped(model)
    layers = quantized_layers(model)
    with torch.no_grad(), hooks.inputs(model, layers) as read:
        run(model, check_inputs(inputs_of(inputs), "inputs"), "inputs")
    layers = {name: layer for name, layer in layers.items() if name in read}
    weights = [_sizes(layer.weight, int(isinstance(layer, TRANSPOSED_CONVOLUTIONS))) for layer in layers.values()]
    activations = [_by_channel(layer, read[name].abs()).amax(1) for name, layer in layers.items()]
    spreads = ([(sizes.max() / sizes.median()).item() for sizes in part] for part in (weights, activations))
    return tuple(statistics.median(part) for part in spreads)


def equalize(model: nn.Module, *, sweeps: int = 20) -> nn.Module:
    """A copy of a model that computes the same, with channels of alike size (eq. 9 to 11).

    For every two layers with nothing but an activation between them, output channel i of the first is divided by
    ``s_i = sqrt(r1_i / r2_i)``, and input channel i of the second multiplied by it; r are the largest absolute weights
    of the channel on either side. ReLU passes a positive factor on; a ReLU6 becomes a :class:`ChannelClamp` at 6 / s_i.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it stays as it is. Batch normalisation is folded first.
    sweeps : int
        How often to go over all pairs; it ends before when nothing moves by more than 0.1 %.

    Returns
    -------
    nn.Module
        Of the same class; where one ReLU6 is called in several places, a ``torch.fx.GraphModule`` with the same layers.

    Raises
    ------
    ValueError
        If the model is in training mode or quantized, ``torch.fx`` cannot follow it, or no two of its layers follow
        each other.

    Examples
    --------
    Two channels, of sizes 4 and 0.25, that one layer makes and the next reads with weights of 1:

    >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[4.0], [0.25]])), nn.init.ones_(model[2].weight)
    >>> equal = xp.quantize.equalize(model)
    >>> equal[0].weight.flatten().tolist(), equal[2].weight.flatten().tolist()
    ([2.0, 0.5], [2.0, 0.5])
    """
    equal = own_activations(float_copy(model))
    chains = _some_pairs(equal)
    for _ in range(sweeps):
        moved = 0.0
        for first, between, second in chains:
            factors = _factors(equal.get_submodule(first), equal.get_submodule(second))
            _rescale(equal, first, between, second, factors)
            moved = max(moved, (factors.log().abs().max()).item())
        if moved < 1e-3:
            break
    return equal


def rescale_channels(model: nn.Module, spread: float, seed: int = 0) -> nn.Module:
    """A copy that computes the same, with channels made unequal: each between two layers by a random factor.

    Factors are log-uniform between 1 / spread and spread. What training can do to a network unseen, since nothing in
    its outputs tells.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; batch normalisation is folded first.
    spread : float
        At least 1.
    seed : int

    Returns
    -------
    nn.Module
        Of the same class.

    Raises
    ------
    ValueError
        As for :func:`equalize`, or if ``spread`` is below 1.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> uneven = xp.quantize.rescale_channels(model, spread=10)
    >>> points = torch.rand(5, 2)
    >>> torch.equal(uneven[0].weight, model[0].weight), torch.allclose(uneven(points), model(points), atol=1e-5)
    (False, True)
    """
    if not 1 <= spread < math.inf:
        raise ValueError(f"spread must be a number of at least 1, got {spread:g}.")
    uneven, generator = own_activations(float_copy(model)), torch.Generator().manual_seed(seed)
    for first, between, second in _some_pairs(uneven):
        channels = len(uneven.get_submodule(first).weight)
        factors = spread ** (2 * torch.rand(channels, generator=generator) - 1)
        _rescale(uneven, first, between, second, factors.to(uneven.get_submodule(first).weight))
    return uneven


def _some_pairs(model: nn.Module) -> list[tuple[str, str | None, str]]:
    if found := equalizable_pairs(model):
        return found
    raise ValueError(
        "no two layers of the model follow each other with nothing but an activation between them: that must be a ReLU "
        "(module or function) or nn.ReLU6, and layers must run once, without hooks."
    )


def own_activations(model: nn.Module) -> nn.Module:
    """A model that is at hand, with a ReLU6 of its own for each place of ``forward``: each is clamped in its own way.

    Where one name is called in several places, the model becomes what ``torch.fx`` made of it, and calls others there.
    """
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.ReLU6):
            model.set_submodule(name, copy.deepcopy(module))
    if any(each.default is not each.empty for each in inspect.signature(model.forward).parameters.values()):
        return model  # what torch.fx makes of it may hold for some arguments alone
    graph, modules = traced(model), dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module" and isinstance(modules[node.target], nn.ReLU6)]
    times = Counter(node.target for node in calls)
    inside = {name for name in modules if name not in {node.target for node in graph.nodes}}
    hooked = any(modules[name]._forward_hooks or modules[name]._forward_pre_hooks for name in inside)
    if hooked or max(times.values(), default=1) == 1:
        return model
    for node in calls:
        times[node.target] -= 1
        if count := times[node.target]:
            own = f"{node.target}_{count}"
            model.set_submodule(own, copy.deepcopy(modules[node.target]))
            node.target = own
    return torch.fx.GraphModule(model, graph, type(model).__name__).eval()


def equalizable_pairs(model: nn.Module, *, padded: bool = True) -> list[tuple[str, str | None, str]]:
    """Layers that follow each other: the first one's name, that of the activation between them if any, the second's.

    Only the second reads what the first gives; both are convolutions, or both linear; both run once, share no tensor
    with another layer, and have no hook and no computed weight. A ReLU between them may be used in other places too,
    and may be a function.

    Parameters
    ----------
    model : nn.Module
        That ``torch.fx`` can follow.
    padded : bool
        Whether ``nn.ZeroPad2d`` may stand between them.

    Returns
    -------
    list of (str, str or None, str)
        In order of execution.

    Raises
    ------
    ValueError
        If ``torch.fx`` cannot follow the model.
    """
    model = unwrapped(model)
    return in_every_graph(model, lambda graph: _pairs_in(graph, model, padded))


def _pairs_in(graph: torch.fx.Graph, model: nn.Module, padded: bool) -> list[tuple[str, str | None, str]]:
    plain, modules = plain_calls(graph, model), dict(model.named_modules(remove_duplicate=False))
    owners = Counter(id(tensor) for module in model.modules() for tensor in module.parameters(recurse=False))
    found = []
    for node, first in plain.items():
        if not isinstance(first, (*CONVOLUTIONS, nn.Linear)):
            continue
        between, after, module = None, node, None
        while len(after.users) == 1:
            after = next(iter(after.users))
            module = plain.get(after)
            if isinstance(module, (nn.ReLU6, ChannelClamp)) and between is None:
                between = after.target
            elif not _passes(after, modules, padded):
                break
        shared = max(owners[id(tensor)] for layer in (first, module) if layer for tensor in layer.parameters()) > 1
        if after is not node and isinstance(module, type(first)) and not shared and _channelwise(first, module):
            found.append((node.target, between, after.target))
    return found


def _passes(node: torch.fx.Node, modules: dict[str, nn.Module], padded: bool) -> bool:
    """Whether a positive factor of its input comes out again, whatever else the node's module is used for."""
    if node.op == "call_module":
        module = modules[node.target]
        hooked = module._forward_hooks or module._forward_pre_hooks or (isinstance(module, nn.ZeroPad2d) and not padded)
        return isinstance(module, _PASSED) and not hooked
    return node.target in _PASSED_FUNCTIONS or (node.op == "call_method" and node.target in ("relu", "relu_"))


def _channelwise(first: nn.Module, second: nn.Module) -> bool:
    """Whether input channel i of the second is a slice of its weights that can be scaled alone."""
    if isinstance(second, nn.Linear):
        return True
    return second.groups == 1 or second.groups == second.in_channels == second.out_channels


def _inputs_axis(layer: nn.Module) -> int:
    return 0 if isinstance(layer, CONVOLUTIONS) and layer.groups > 1 else 1


def _sizes(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Largest absolute weight of every slice along an axis."""
    return weight.detach().abs().transpose(0, axis).flatten(1).amax(1)


def _factors(first: nn.Module, second: nn.Module) -> torch.Tensor:
    """``sqrt(r1 / r2)``; 1 for channels that are dead on either side."""
    ours, theirs = _sizes(first.weight, 0), _sizes(second.weight, _inputs_axis(second))
    alive = (ours > DEAD * ours.max()) & (theirs > DEAD * theirs.max())
    return torch.where(alive, (ours / theirs).sqrt(), torch.ones_like(ours))


@torch.no_grad()
def _rescale(model: nn.Module, first: str, between: str | None, second: str, factors: torch.Tensor) -> None:
    """Divide output channels of the first layer by factors, and multiply the second's input channels by them."""
    one, two = model.get_submodule(first), model.get_submodule(second)
    one.weight /= factors.view(-1, *[1] * (one.weight.ndim - 1))
    if one.bias is not None:
        one.bias /= factors
    shape = [1] * two.weight.ndim
    shape[_inputs_axis(two)] = -1
    two.weight *= factors.view(shape)
    if between is not None:
        clamp = channel_clamp(model, between, one)
        clamp.maximum /= factors.view(clamp.maximum.shape)


def channel_clamp(model: nn.Module, name: str, layer: nn.Module) -> ChannelClamp:
    """The clamp behind a layer: a ReLU6 is replaced in the model, in place."""
    clamp = model.get_submodule(name)
    if isinstance(clamp, nn.ReLU6):
        clamp = ChannelClamp(layer.weight.new_full((len(layer.weight), *[1] * (layer.weight.ndim - 2)), 6.0)).eval()
        model.set_submodule(name, clamp)
    return clamp
