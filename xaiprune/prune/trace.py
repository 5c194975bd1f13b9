"""torch-pruning's dependency graph, asked without touching the model.

Of torch-pruning this kit uses the graph, and nothing else: scores, plans, masks and cuts are its own.
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict

import torch
import torch_pruning as tp
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def trace(model: nn.Module, example):
    """torch-pruning's graph of a copy of the model, names of the copy's modules and parameters, and output nodes.

    The copy shares the parameters' values, all of which ask for a gradient there, and has buffers of its own.
    """
    shared = {id(p): nn.Parameter(p.detach(), p.is_floating_point()) for p in model.parameters()}
    model = copied(model, shared).eval()
    names = {module: name for name, module in model.named_modules()}
    names |= {parameter: name for name, parameter in model.named_parameters()}
    entered: list[str] = []
    answers: set = set()

    def forward(model, example):
        hooks = [m.register_forward_pre_hook(lambda m, _: entered.append(names[m])) for m in model.modules()]
        try:
            with _NoBranching():
                result = model(*example) if isinstance(example, tuple | list) else model(example)
            answers.update(tensor.grad_fn for tensor in tree_iter(result) if isinstance(tensor, torch.Tensor))
            return result
        except Exception as error:
            raise ValueError(
                f"example does not run through the model: it failed in {entered[-1] or 'the model itself'!r} "
                f"({type(error).__name__}: {error})."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()

    graph = tp.DependencyGraph()
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph.build_dependency(model, example, forward_fn=forward, verbose=False)
        except ValueError:
            raise
        except Exception as error:
            last = entered[-1] if entered else ""
            raise ValueError(
                f"the model cannot be traced: {type(error).__name__}: {error}; the last module entered was {last!r}."
            ) from error
    known = {names[node] for node in graph.module2node if node in names}
    for name in dict.fromkeys(entered):
        module = model.get_submodule(name)
        if name not in known and not list(module.children()) and list(module.parameters(recurse=False)):
            raise ValueError(
                f"{name!r} ({type(module).__name__}) cannot be traced: no gradient flows from the output back "
                "to it. Is it run under torch.no_grad, detached, or is its type unknown to torch-pruning?"
            )
    outputs = {node for node in graph.module2node.values() if not node.outputs or node.grad_fn in answers}
    return graph, names, outputs


def copied(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """A deep copy of a model in which tensors are replaced: ``memo`` holds id of the old -> the new.

    Most of a plain deep copy's time goes into the empty dictionaries of hooks that every module carries.
    """
    kept = [value for module in model.modules() for value in vars(module).values()]
    empty = {id(value): OrderedDict() for value in kept if type(value) is OrderedDict and not value}
    return copy.deepcopy(model, empty | memo)


class _NoBranching(TorchDispatchMode):
    """Refuses to turn a tensor into a Python number: a graph that depends on values holds for one input only."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the forward pass reads a value, as `if x.sum() > 0` does, so its graph is not fixed")
        return function(*args, **(kwargs or {}))


def raw_groups(graph) -> list:
    """torch-pruning's groups, each seen from its narrowest layer.

    Where a dense layer's outputs are folded into channels, several outputs share one channel. Seen from the dense
    layer, torch-pruning keeps only one of them for each channel; seen from the channels it lists them all.
    """
    roots = (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR, tp.ops.TORCH_EMBED)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for group in graph.get_all_groups(root_module_types=roots):
            narrowest = min(group, key=lambda item: len(item.idxs))
            if len(narrowest.idxs) < len(group[0].idxs):
                target = narrowest.dep.target.module
                group = graph.get_pruning_group(target, narrowest.dep.handler, sorted(narrowest.idxs))
            found.append(group)
    return found
