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

from ...graph.calls import computed_memo
from .layers import is_depthwise, is_grouped


def _trace(model: nn.Module, example):
    """torch-pruning's graph of a copy of the model, and what is needed to read it.

    The copy shares the parameters' values, all of which ask for a gradient there, and has buffers of its own. Returned
    are the graph, the names of the copy's modules and parameters, the output nodes, and the grouped convolutions by
    name: depthwise ones stand for them in the copy.
    """
    shared = {id(p): nn.Parameter(p.detach(), p.is_floating_point()) for p in model.parameters()}
    model = copied(model, shared).eval()
    grouped = _as_depthwise(model)
    names = {module: name for name, module in model.named_modules()}
    names |= {parameter: name for name, parameter in model.named_parameters()}
    entered: list[str] = []
    answers: set = set()

    def forward(model, example):
        hooks = [m.register_forward_pre_hook(lambda m, _: entered.append(names[m])) for m in model.modules()]
        try:
            with watch:
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

    graph, watch = tp.DependencyGraph(), _Watch(entered)
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph.build_dependency(model, example, forward_fn=forward, verbose=False)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(
                f"the model cannot be traced: {type(error).__name__}: {error}; {watch.suspect}."
            ) from error
    if idle := [name for name, module in model.named_modules() if name not in entered and _has_own(module)]:
        rest = f" and {len(idle) - 1} more layers have" if len(idle) > 1 else " has"
        take = "take" if len(idle) > 1 else "takes"
        raise ValueError(
            f"{idle[0]!r}{rest} parameters but {take} no part in evaluation, so that the layers around them would "
            "shrink without them. Build the model without them, as with aux_logits=False."
        )
    known = {names[node] for node in graph.module2node if node in names}
    for name in dict.fromkeys(entered):
        module = model.get_submodule(name)
        if name not in known and _has_own(module):
            raise ValueError(
                f"{name!r} ({type(module).__name__}) cannot be traced: no gradient flows from the output back "
                "to it. Is it run under torch.no_grad, detached, or is its type unknown to torch-pruning?"
            )
    outputs = {node for node in graph.module2node.values() if not node.outputs or node.grad_fn in answers}
    return graph, names, outputs, grouped


def _has_own(module: nn.Module) -> bool:
    """True for a layer: parameters, and no children."""
    return not list(module.children()) and bool(list(module.parameters(recurse=False)))


def _as_depthwise(model: nn.Module) -> dict[str, nn.Module]:
    """Put a depthwise convolution in the place of every grouped one, in place; name to the layer that stood there.

    torch-pruning knows that channels pass a depthwise convolution one by one, but not that they pass a grouped one in
    blocks. The graph of the two is the same.
    """
    grouped = {name: m for name, m in model.named_modules() if is_grouped(m) and not is_depthwise(m)}
    for name, module in grouped.items():
        options = {
            key: getattr(module, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        width = module.in_channels
        stand_in = type(module)(width, width, groups=width, bias=module.bias is not None, **options).to(module.weight)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, stand_in)
    return grouped


def copied(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """A deep copy of a model in which tensors are replaced: ``memo`` holds id of the old -> the new.

    Most of a plain deep copy's time goes into the empty dictionaries of hooks that every module carries.
    """
    kept = [value for module in model.modules() for value in vars(module).values()]
    empty = {id(value): OrderedDict() for value in kept if type(value) is OrderedDict and not value}
    return copy.deepcopy(model, empty | computed_memo(model) | memo)


class _Watch(TorchDispatchMode):
    """Refuses to turn a tensor into a Python number, and remembers where channels are split into several axes.

    A graph that depends on values holds for one input only; one that splits channels may be beyond torch-pruning.
    """

    def __init__(self, entered: list[str]):
        super().__init__()
        self.entered, self.split = entered, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the forward pass reads a value, as `if x.sum() > 0` does, so its graph is not fixed")
        if function in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
            before, after = tuple(args[0].shape), tuple(args[1])
            if len(after) > len(before) > 3 and before[1] == after[1] * after[2]:
                self.split.append(self.entered[-1])
        return function(*args, **(kwargs or {}))

    @property
    def suspect(self) -> str:
        """Where to look, in words."""
        if self.split:
            return (
                f"channels are split over two axes after {self.split[0]!r} and at {len(set(self.split)) - 1} more "
                "places, as a channel shuffle does, which the graph cannot follow"
            )
        return f"the last module entered was {self.entered[-1] if self.entered else ''!r}"


def _raw_groups(graph) -> list:
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
