"""A forward pass under watch: every operation by its rule."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..applying import called, evaluating
from ..units import copied, normalises
from .labels import _compact, _Labels, _varies, _wide
from .operations import _ATTENTION, _MIXES, _MOVES, _NORMS, _PRODUCTS, _REDUCES, _SAME, _SPATIAL
from .summing import _spread_heads, _Summing


class _Trace(_Summing, TorchDispatchMode):
    """Watches a forward pass; the arguments are those of the ledger."""

    def __init__(self, model: nn.Module, ties: str = ""):
        TorchDispatchMode.__init__(self)
        _Summing.__init__(self, model, ties)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.inside_norm:
            return function(*args, **kwargs)
        given = {id(t): self.labels.get(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        given = {key: labels for key, labels in given.items() if labels is not None}
        if given and function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the forward pass reads a value, as `if x.sum() > 0` does, so its graph is not fixed")
        result = function(*args, **kwargs)
        name = function._schema.name.partition("::")[2]
        if not given:
            module = self.model.get_submodule(self.entered[-1])
            if name == "zeros" and isinstance(module, nn.RNNBase) and result.shape[-1] == module.hidden_size:
                numbers = self.slots[self._memory(self.entered[-1], module)[0]]  # what it remembers at first
                layer = torch.arange(numbers.start, numbers.stop).expand(result.shape)
                self.labels[result] = _Labels(tuple(result.shape), [layer])
            return result

        def of(tensor) -> _Labels:
            found = given.get(id(tensor)) or _Labels(tuple(tensor.shape))
            steps = tensor.stride() if tensor.layout is torch.strided else ()
            spread = tuple(k for k, step in enumerate(steps) if step == 0 and tensor.shape[k] > 1)
            return _Labels(found.shape, found.layers, spread, found.raw)

        named = {a.name: v for a, v in zip(function._schema.arguments, args)} | kwargs
        made = self._rule(function, name, args, kwargs, named, result, of)
        for tensor, labels in zip([t for t in tree_leaves(result) if isinstance(t, torch.Tensor)], made):
            layers = [_wide(layer, tensor.shape) for layer in labels.layers]
            labels.layers = [layer for layer in layers if any(_varies(layer, axis) for axis in range(layer.ndim))]
            for layer in layers:  # what is alike everywhere is a single unit, taken by its number, or can never go
                if not any(layer is kept for kept in labels.layers):
                    self.fix(layer, f"{name.strip('_')}, which takes one by its number or all at once,")
            if function._schema.is_mutable and tensor is args[0]:
                before = given.get(id(tensor), _Labels(()))
                for layer in labels.layers if name == "copy_" else ():  # what was there goes with what comes
                    for old in before.layers or [torch.zeros_like(layer)]:
                        self.unite(layer, old, name)
            self.labels[tensor] = labels
        return result

    def _stand_in(self, width: int) -> _Labels:
        """Labels of a layer that counts units and has no tensor that would."""
        name = f"{self.entered[-1]}."
        if (name, 0) in self.slots:
            numbers = self.slots[name, 0]
            return _Labels((width,), [torch.arange(numbers.start, numbers.stop)])
        return self._own(name, torch.empty(width))

    def _rule(self, function, name, args, kwargs, named, result, of) -> list[_Labels]:
        """Labels of an operation's results."""
        base = name.rstrip("_") if name.endswith("_") else name
        out = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        shape = tuple(out[0].shape) if out else ()
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if base in _MOVES:
            return self._move(function, base, args, kwargs, of, out)
        if base in ("cat", "stack"):
            return [self._side_by_side(base, [*args[0]], named.get("dim", 0), shape, of)]
        if torch.Tag.pointwise in function.tags or name in _SAME or base in _SAME:
            return [self.pointwise([of(t) for t in tensors], shape, name)]
        if base in _PRODUCTS:
            first = _PRODUCTS[base]
            one, other = of(args[first]), of(args[first + 1])
            if len(one.shape) >= 2 and len(other.shape) >= 2:
                product = self.product(one, other, shape, name)
                return [self.pointwise([of(args[0]), product], shape, name) if first else product]
        if base in ("convolution", "convolution_overrideable"):
            return [self._convolution(of, shape, *args[:3], args[6], args[8])]
        if base in _NORMS or base == "native_group_norm" or base == "native_layer_norm":
            return [self._norm(base, args, of, shape)]
        if base == "embedding":
            weight = of(args[0])
            for layer in weight.varying(0):
                self.fix(layer, "embedding, whose rows are looked up by number,", False)
            lines = [layer.select(0, 0).expand(shape) for layer in weight.steady(0)]
            return [_Labels(shape, lines)]
        if _ATTENTION in base:
            query, key, value = (_spread_heads(of(t), args[0].shape) for t in args[:3])
            turned = _Labels((*key.shape[:-2], key.shape[-1], key.shape[-2]), [k.mT for k in key.layers])
            weights = self.product(query, turned, (*query.shape[:-1], key.shape[-2]), name)
            mask = named.get("attn_mask", named.get("attn_bias"))
            if mask is not None:
                alike = tuple(
                    k for k, n in enumerate(mask.shape) if n == 1 or bool((mask == mask.narrow(k, 0, 1)).all())
                )
                seen = _Labels(tuple(mask.shape), of(mask).layers, alike)  # one mask, laid out for every head
                weights = self.pointwise([weights, seen], weights.shape, name)
            return [self.product(weights, value, shape, name), *(_Labels(tuple(t.shape)) for t in out[1:])]
        if base in _REDUCES:
            return [self._reduce(base, of(args[0]), named, t) for t in out]
        if base == "glu":
            dim = named.get("dim", -1)
            parts = [_Labels(shape, list(each)) for each in zip(*(layer.chunk(2, dim) for layer in of(args[0]).layers))]
            return [self.pointwise(parts, shape, name)]
        if base.startswith("new_"):
            return []
        if base in _MIXES:
            dim = named.get("dim", -1)
            return [_Labels(shape, self.mix(of(args[0]), dim if isinstance(dim, list) else [dim], name.strip("_")))]
        if base.startswith(_SPATIAL) and args[0].ndim > 2:
            labels = of(args[0])
            axes = [k for k in range(args[0].ndim) if args[0].shape[k] != shape[k] or k >= 2]
            if base == "constant_pad_nd":
                axes = [k for k in range(args[0].ndim) if args[0].shape[k] != shape[k]]
            found = []
            for layer in labels.layers:
                if any(_varies(layer, axis) for axis in axes) and base == "constant_pad_nd":
                    found.append(function(layer, args[1], 0))
                else:
                    mixed = self.mix(_Labels(layer.shape, [layer]), axes, name.strip("_"))
                    found += [_compact(each).expand(shape) for each in mixed]
            return [_Labels(shape, found)]
        for tensor in tensors:
            for layer in of(tensor).layers:
                self.fix(layer, f"{name.strip('_')}")
        return [_Labels(tuple(t.shape)) for t in out]


def _traced(model: nn.Module, example, ties: str = "", heads: bool = False) -> _Trace:
    """One forward pass under watch; what reaches the output is fixed. The model is not changed."""
    shared = {id(t): nn.Parameter(t.detach(), False) for t in model.parameters()}
    model = evaluating(copied(model, shared), heads)
    trace = _Trace(model, ties)
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda m, given, name=name: trace.enter(name))
        module.register_forward_hook(lambda m, given, output: trace.left())
        if normalises(module) and not isinstance(module, nn.LayerNorm | nn.GroupNorm):
            module.register_forward_pre_hook(lambda m, given: setattr(trace, "inside_norm", True))
            module.register_forward_hook(partial(_passed, trace, name), with_kwargs=True)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation in place of many
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False), trace:
                answer = called(model, example)
    except Exception as error:
        raise ValueError(
            f"example does not run through the model: it failed in {trace.entered[-1] or 'the model itself'!r} "
            f"({type(error).__name__}: {error})."
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    for tensor in tree_leaves(answer):
        if isinstance(tensor, torch.Tensor) and tensor in trace.labels:
            for layer in trace.labels[tensor].layers:
                trace.fixed.insert(0, (np.unique(_compact(layer).numpy()), "it reaches the model's output", False))
    return trace


def _passed(trace: _Trace, name: str, module: nn.Module, given: tuple, named: dict, output: torch.Tensor) -> None:
    trace.inside_norm = False
    trace.norm(name, module, next(iter((*given, *named.values()))), output)
