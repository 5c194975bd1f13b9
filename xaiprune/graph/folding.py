"""Batch normalisation folded into the layer before it, as runtimes and quantizers do before anything else."""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .calls import copied, unwrapped
from .layer_types import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

#: At most so many inputs are tried for a ``forward(*inputs)``.
_MANY = 3
#: Layers that a normalisation behind them can become a part of.
_FOLDABLE = (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, nn.Linear)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of a model whose batch normalisations are part of the layers before them.

    In evaluation, batch normalisation is y = g (x - m) / sqrt(v + e) + b for each channel, with x = w z + c from the
    layer before it. So y = w' z + c' with w' = w g / sqrt(v + e) and c' = (c - m) g / sqrt(v + e) + b (Jacob et al.,
    *Quantization and Training of Neural Networks*, CVPR 2018, eq. 14). ``nn.Identity`` takes the place of each
    normalisation, so that names and order stay.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it stays as it is. Its normalisations are found by ``torch.fx``. Of a model in
        ``DataParallel`` or ``torch.compile`` the one inside is taken.

    Returns
    -------
    nn.Module
        Of the same class. A normalisation stays where its layer feeds something else too or runs twice, where no
        convolution or linear layer stands right before it, where it has no stored mean and variance, and where one of
        the two has a hook (a mask), computes its weight from other tensors, lends a tensor to another place of
        ``forward``, or is in training mode. ``BatchNorm1d`` behind ``nn.Linear`` is taken to read ``(N, C)``; for a
        sequence ``(N, C, L)``, whose last axis the linear layer works on, the folded model raises a ValueError.

    Raises
    ------
    ValueError
        If the model is in training mode, or has batch normalisation and cannot be followed by ``torch.fx``.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    >>> folded = xp.graph.fold_batch_norm(model)
    >>> folded[1], torch.allclose(model(torch.ones(1, 1, 5, 5)), folded(torch.ones(1, 1, 5, 5)), atol=1e-6)
    (Identity(), True)
    """
    model = unwrapped(model)
    if model.training:
        raise ValueError("model is in training mode; call model.eval() first.")
    return folded_in_place(copied(model))


def folded_in_place(model: nn.Module) -> nn.Module:
    """:func:`fold_batch_norm` for a copy that is at hand already.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    nn.Module
        ``model`` itself.
    """
    pairs = _pairs(model) if any(isinstance(module, BATCH_NORMS) for module in model.modules()) else ()
    for layer, norm in pairs:
        one = model.get_submodule(layer)
        model.set_submodule(layer, _fused(one, model.get_submodule(norm)))
        model.set_submodule(norm, (_Folded(norm, layer) if isinstance(one, nn.Linear) else nn.Identity()).eval())
    return model


class _Folded(nn.Identity):
    """In the place of a normalisation that a linear layer took in: its features are the last axis, and not channels."""

    def __init__(self, name: str, layer: str):
        super().__init__()
        self.names = name, layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim > 2:
            name, layer = self.names
            raise ValueError(
                f"batch normalisation {name!r} was folded into the features of {layer!r}, as for inputs (N, C), but "
                f"got {x.ndim} axes, of which it normalises the second. Put nn.Identity() between the two layers of "
                "the model: then the normalisation stays."
            )
        return x


def computed(model: nn.Module, name: str) -> str:
    """What is to be said of a tensor that another one is computed from, with the way out; empty of a plain one.

    Parameters
    ----------
    model : nn.Module
    name : str
        Of a parameter.

    Returns
    -------
    str

    Examples
    --------
    >>> model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))
    >>> xp.graph.folding.computed(model, "0.parametrizations.weight.original1")
    "'0' computes its weight from '0.parametrizations.weight.original1': make it plain with ..."
    """
    layer, _, attribute = name.rpartition(".")
    owner, inside, tensor = layer.rpartition("parametrizations.")
    if inside:
        layer, way = owner.removesuffix("."), "parametrize.remove_parametrizations"
    else:
        tensor, _, ending = attribute.rpartition("_")
        way = {"orig": "remove_spectral_norm", "g": "remove_weight_norm", "v": "remove_weight_norm"}.get(ending)
        if not way or not hasattr(model.get_submodule(layer), tensor):
            return ""
        if hasattr(model.get_submodule(layer), f"{tensor}_mask"):
            return (
                f"{layer!r} is pruned by torch.nn.utils.prune, which keeps its {tensor} in {name!r}. Read the masks "
                "with read_masks(model), then make the model plain with torch.nn.utils.prune.remove."
            )
    return f"{layer!r} computes its {tensor} from {name!r}: make it plain with torch.nn.utils.{way}."


def plain_weights(model: nn.Module) -> nn.Module:
    """A copy whose weights are parameters, and compute what the model's do.

    Masks of ``torch.nn.utils.prune``, weight and spectral norm, old and new, and other parametrizations are made
    permanent; wrappers (``DataParallel``, ``torch.compile``) are left out. What quantizes weights stays.

    Parameters
    ----------
    model : nn.Module
        It stays as it is.

    Returns
    -------
    nn.Module
        Of the class of the model inside.

    Examples
    --------
    >>> model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))
    >>> [name for name, _ in xp.graph.folding.plain_weights(model).named_parameters()]
    ['0.bias', '0.weight']
    """
    plain = copied(unwrapped(model))
    for module in plain.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, BasePruningMethod | WeightNorm | SpectralNorm):
                hook.remove(module)
                del module._forward_pre_hooks[key]
        if parametrize.is_parametrized(module) and not any(hasattr(part, "numbers") for part in module.modules()):
            kind = type(module)  # which copies share, and torch takes the name from
            module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
    return plain


class _Tracer(torch.fx.Tracer):
    """Every module without parts is one step, whoever wrote it; so is the one that is named."""

    def __init__(self, whole: str, many: int, fixed: Mapping[str, object]):
        super().__init__()
        self.whole, self.many, self.fixed = whole, many, fixed

    def create_args_for_root(self, root_fn, is_module, concrete_args=None):
        """Of ``*inputs`` so many, of ``**keywords`` none; what is fixed as it is."""
        function, given = super().create_args_for_root(root_fn, is_module, concrete_args)
        for place, argument in enumerate(given):
            name = argument.node.target if isinstance(argument, torch.fx.Proxy) else ""
            if name in self.fixed:
                given[place] = self.fixed[name]
            elif name.startswith("*"):
                given[place] = {} if name[1] == "*" else tuple(argument[number] for number in range(self.many))
        return function, given

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return super().is_leaf_module(module, name) or not any(module.children()) or name == self.whole


def traced(model: nn.Module, whole: str = "", fixed: Mapping[str, object] | None = None) -> torch.fx.Graph:
    """What a model computes, as a graph of its layers.

    Parameters
    ----------
    model : nn.Module
    whole : str
        Name of a module that is one step although it has parts.
    fixed : mapping of str to object, optional
        Arguments of ``forward`` that are these values, such as the defaults of what is not given.

    Returns
    -------
    torch.fx.Graph

    Raises
    ------
    ValueError
        If ``torch.fx`` cannot follow the model: its control flow depends on data, for example.

    Examples
    --------
    >>> graph = xp.graph.traced(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    >>> [(node.op, node.target) for node in graph.nodes]
    [('placeholder', 'input'), ('call_module', '0'), ('call_module', '1'), ('output', 'output')]
    """
    kinds = [argument.kind for argument in inspect.signature(model.forward).parameters.values()]
    for many in range(1, 1 + (_MANY if inspect.Parameter.VAR_POSITIONAL in kinds else 1)):  # as few as it can do with
        try:
            return _Tracer(whole, many, fixed or {}).trace(model)
        except Exception as caught:
            error = caught
    raise ValueError(
        f"torch.fx cannot follow the model: {type(error).__name__}: {error}. What decides on values must be a module "
        "of its own, without parts, or a function that torch.fx.wrap knows."
    ) from error


def in_every_graph(model: nn.Module, find: Callable[[torch.fx.Graph], list]) -> list:
    """What is found in a model's graph, whether its arguments with defaults are given or not.

    Parameters
    ----------
    model : nn.Module
    find : callable
        ``graph -> list``.

    Returns
    -------
    list
        What is found in each of the graphs that ``torch.fx`` can follow.

    Raises
    ------
    ValueError
        If it can follow none.
    """
    arguments = inspect.signature(model.forward).parameters.values()
    fixed = {each.name: each.default for each in arguments if each.default is not inspect.Parameter.empty}
    found = find(traced(model, fixed=fixed))
    if fixed:
        try:
            again = find(traced(model))
        except ValueError:  # given, they decide on values
            again = found
        found = [one for one in found if one in again]
    return found


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Names of layers and of the batch normalisations that alone read them."""
    return in_every_graph(model, lambda graph: _pairs_in(graph, model))


def _pairs_in(graph: torch.fx.Graph, model: nn.Module) -> list[tuple[str, str]]:
    plain, found = plain_calls(graph, model), []
    for node, norm in plain.items():
        before = node.args[0] if node.args else None
        if not isinstance(norm, BATCH_NORMS) or norm.running_mean is None:
            continue
        if isinstance(plain.get(before), _FOLDABLE) and len(before.users) == 1:
            found.append((before.target, node.target))
    return found


def plain_calls(graph: torch.fx.Graph, model: nn.Module) -> dict[torch.fx.Node, nn.Module]:
    """The modules that run once and compute what their own tensors say, by their place in the graph.

    Those with a hook, with a weight that is computed from other tensors or read in another place too, or in training
    mode are left out.

    Parameters
    ----------
    graph : torch.fx.Graph
        As :func:`traced` gives it.
    model : nn.Module
        The model that was traced.

    Returns
    -------
    dict of torch.fx.Node to nn.Module
        In the order of the graph.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = {node: modules[node.target] for node in graph.nodes if node.op == "call_module"}
    times = Counter(calls.values())
    read = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    lent = {modules[name] for name in read if name in modules}
    return {node: module for node, module in calls.items() if times[module] == 1 and _plain(module, lent)}


def _plain(module: nn.Module, lent: set[nn.Module]) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks
    return not (hooked or module.training or module in lent or hasattr(module, "parametrizations"))


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    if norm.weight is None:
        norm = copy.deepcopy(norm)
        norm.weight = nn.Parameter(torch.ones_like(norm.running_var))
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_var))
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, TRANSPOSED_CONVOLUTIONS))
