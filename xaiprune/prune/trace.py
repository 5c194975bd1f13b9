"""torch-pruning's dependency graph, asked on shapes alone.

Of torch-pruning this kit uses the graph, and nothing else: scores, plans, masks and cuts are its own.
"""

from __future__ import annotations

import copy
import warnings

import torch
import torch_pruning as tp
from torch import nn


def trace(model: nn.Module, example):
    """torch-pruning's graph of a copy of the model, and the names of the copy's modules and parameters.

    The copy and the example are on the meta device: only shapes flow, nothing is computed.
    """
    tensors = [*model.parameters(), *model.buffers()]
    model = copy.deepcopy(model, {id(tensor): _meta(tensor) for tensor in tensors}).eval()
    example = tuple(map(_meta, example)) if isinstance(example, tuple | list) else _meta(example)
    names = {module: name for name, module in model.named_modules()}
    names |= {parameter: name for name, parameter in model.named_parameters()}
    entered: list[str] = []

    def forward(model, example):
        hooks = [m.register_forward_pre_hook(lambda m, _: entered.append(names[m])) for m in model.modules()]
        try:
            return model(*example) if isinstance(example, tuple) else model(example)
        except Exception as error:
            raise ValueError(
                f"example does not run through the model: it failed in {entered[-1] or 'the model itself'!r} "
                f"({type(error).__name__}: {error})."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()

    graph = tp.DependencyGraph()
    with torch.enable_grad(), torch.device("meta"), warnings.catch_warnings():
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
    return graph, names


def _meta(value):
    """A tensor's shape without its values; parameters of floats ask for a gradient, so that the graph is whole."""
    if not isinstance(value, torch.Tensor):
        return value
    empty = torch.empty_like(value, device="meta", requires_grad=False)
    return nn.Parameter(empty, value.is_floating_point()) if isinstance(value, nn.Parameter) else empty


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
