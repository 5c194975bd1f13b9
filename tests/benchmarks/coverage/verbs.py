"""The verbs, as functions: each tries one on a model, and returns what it saw or raises what came.

A verb is *right* where its own condition holds, which no part of the kit judges: outputs are compared here, on weights
that were drawn anew, so that zeros and symmetries of an initialisation hide nothing.
"""

from __future__ import annotations

import ast
import copy
import re
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

import xaiprune as xp
from xaiprune.explain import relevance

from .architectures import Architecture, OneTensor
from .peer import NotApplicableError, torch_pruning

#: Largest difference of mask and cut, over the largest output.
DOUBLE, SINGLE = 1e-9, 1e-4
#: Least change of the largest output by a cut of 30 %: where it is less, nothing was seen.
MOVED = 1e-6
_WEIGHTED = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd)


class Subject:
    """One model on its way through the verbs; what is costly is made once.

    Parameters
    ----------
    architecture : Architecture
    """

    def __init__(self, architecture: Architecture):
        self.architecture, self.inputs = architecture, architecture.example(2)

    def build(self, seed: int = 0) -> nn.Module:
        """The model with weights of this seed, in evaluation mode."""
        torch.manual_seed(seed)
        return redrawn(self.architecture.build(), seed).eval()

    @cached_property
    def model(self) -> nn.Module:
        return self.build()

    @cached_property
    def answering(self) -> nn.Module:
        """The model from inputs to (N, classes)."""
        if self.architecture.task in ("classes", "tokens"):
            return self.model
        return OneTensor(self.model, self.architecture.answers).eval()

    @cached_property
    def outputs(self) -> torch.Tensor:
        return run(self.model, self.inputs)

    @cached_property
    def labels(self) -> torch.Tensor:
        return run(self.answering, self.inputs).argmax(1)

    @cached_property
    def found(self) -> tuple[list, float, list[Exception]]:
        """The groups of units, the seconds of the last call, and what was raised: its way out is taken, three times."""
        ignore, raised = [], []
        while True:
            start = time.perf_counter()
            try:
                units = xp.find_units(self.model, self.inputs, ignore=ignore)
                return units, time.perf_counter() - start, raised
            except Exception as error:
                raised.append(error)
                told = re.search(r"ignore=(\['.*?\])", str(error))
                if told is None or len(raised) > 3:
                    return [], time.perf_counter() - start, raised
                ignore = ignore + ast.literal_eval(told[1])

    @property
    def units(self) -> list:
        """The groups that there are, if need be after a way out was taken."""
        units, _, raised = self.found
        if len(raised) > 1 and not units:
            told = f"the way out was taken {len(raised) - 1} times, and does not lead out: {_sentence(raised[-1])}"
            raise AssertionError(told) from raised[-1]
        if raised and not units:
            raise raised[0]
        if not units:
            raise AssertionError("find_units finds no group, and does not say why")
        return units

    @cached_property
    def scores(self):
        split = xp.data.Split(self.inputs, self.labels)
        answers, task = self.architecture.answers, self.architecture.task

        def loss(model, inputs, targets):
            return nn.functional.cross_entropy(answers(model(inputs)), targets)

        options = {} if task in ("classes", "tokens") else {"loss": loss}
        return xp.score(self.model, self.units, "taylor", split, **options)

    def random_plan(self, seed: int):
        """Three of ten units of every group, drawn; another number where a group allows it."""
        drawn, removed = np.random.default_rng(seed), {}
        for group in self.units:
            if (most := min(group.size - 1, max(1, round(group.size * (0.25, 0.4)[seed])))) > 0:
                removed[group.name] = np.sort(drawn.choice(group.size, most, replace=False))
        return xp.prune.Plan(tuple(self.units), removed)


def redrawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with parameters of one value, small ones, and running statistics drawn anew, in place.

    Small matrices are drawn out to a deviation of one over the root of what they read, so that attention attends.
    """
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            if name.endswith("bias") or (tensor.ndim > 1 and not tensor.any()):
                tensor.add_(torch.randn(tensor.shape, generator=drawn), alpha=0.1)
            elif tensor.min() == tensor.max():
                tensor.copy_(torch.rand(tensor.shape, generator=drawn) + 0.5)
            elif tensor.ndim > 1 and tensor.std() < (wanted := tensor[0].numel() ** -0.5) / 2:
                tensor.mul_(wanted / tensor.std())
        for name, tensor in model.named_buffers():
            if name.endswith("running_mean"):
                tensor.copy_(torch.randn(tensor.shape, generator=drawn) * 0.1)
            elif name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=drawn) + 0.5)
    return model


def run(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Outputs of a model, without gradients."""
    with torch.no_grad():
        return model(inputs)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, over the largest output."""
    if one.shape != other.shape:
        raise AssertionError(f"outputs have shape {tuple(other.shape)} in place of {tuple(one.shape)}")
    return ((one - other).abs().max() / one.abs().max()).item()


def hold(condition: bool, told: str) -> None:
    """Raise with what was seen, unless it is right."""
    if not condition:
        raise AssertionError(told)


def find_units(subject: Subject) -> dict:
    """Groups are found; how much of the trunk they hold, and how long it takes over one pass forward and backward.

    Where they are found once a way out was taken, this is a refusal.
    """
    units = subject.units
    hold(all(group.size > 0 for group in units), "a group without a unit")
    seconds, of_pass = subject.found[1], _pass_seconds(subject)
    refused = {"verdict": "refused", "told": _sentence(subject.found[2][0])} if subject.found[2] else {}
    return refused | {
        "groups": len(units), "units": sum(group.size for group in units),
        "share": share(subject.model, units, subject), "find_seconds": seconds, "pass_seconds": of_pass,
    }  # fmt: skip


def _pass_seconds(subject: Subject) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subject.model(subject.inputs).sum().backward()
        times.append(time.perf_counter() - start)
    subject.model.zero_grad(set_to_none=True)
    return min(times)


def share(model: nn.Module, units: list, subject: Subject) -> float:
    """Of what layers produce, but those that make the output, the part that is in a group."""
    last, mine = output_layers(model, subject.inputs), {}
    for group in units:
        for member in group.members:
            mine.setdefault(member.module, []).append(member)
    covered = total = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            for part in (part for part, _ in module.named_parameters() if part.startswith("weight_hh")):
                held = [m for m in mine.get(name, []) if m.axes.get(f"{name}.{part}") == 0]
                total += module.hidden_size
                covered += max((len(np.unique(m.index)) / m.width for m in held), default=0) * module.hidden_size
        if not isinstance(module, _WEIGHTED) or name in last:
            continue
        axis = 1 if getattr(module, "transposed", False) or isinstance(module, nn.Embedding) else 0
        axis_width = module.weight.shape[axis] * (module.groups if getattr(module, "transposed", False) else 1)
        if axis_width == 1:
            continue
        total += axis_width
        held = [m.index.ravel() for m in mine.get(name, []) if m.axes.get(f"{name}.weight") in (axis, axis - 2)]
        covered += len(np.unique(np.concatenate(held))) if held else 0
    return covered / total if total else float("nan")


def output_layers(model: nn.Module, inputs: torch.Tensor) -> set[str]:
    """Layers with weights that no other such layer reads on the way to the output: their units are its own."""
    owners = {id(m.weight): name for name, m in model.named_modules() if isinstance(m, _WEIGHTED)}
    with torch.enable_grad():
        queue, seen, found = [model(inputs).grad_fn], set(), set()
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        before = [function for function, _ in node.next_functions if function is not None]
        leaves = [*before, *(f for b in before if b.name().startswith("T") for f, _ in b.next_functions if f)]
        names = {owners[id(f.variable)] for f in leaves if hasattr(f, "variable") and id(f.variable) in owners}
        found |= names
        if not names:
            queue += before
    return found


def score_taylor(subject: Subject) -> dict:
    """One finite number for each unit, not all of them 0."""
    scores = subject.scores
    hold(all(len(scores[group.name]) == group.size for group in subject.units), "not one score for each unit")
    hold(any(scores[group.name].any() for group in subject.units), "every score is 0")
    return {}


def plan(subject: Subject) -> dict:
    """A plan for 30 % of the units: as many, no group empty, and the same after its file."""
    found = xp.plan(subject.scores, ratio=0.3)
    total = sum(group.size for group in subject.units)
    hold(abs(len(found) - 0.3 * total) <= 1, f"{len(found)} of {total} units go, 30 % were asked for")
    hold(all(found.kept.get(group.name, group.size) >= 1 for group in subject.units), "a group is empty")
    hold(xp.prune.Plan.from_json(found.to_json()) == found, "the plan is another one after its file")
    return {}


def cut(subject: Subject) -> dict:
    """The cut computes what the mask computes, in float64 and float32, for two draws from every group at once."""
    errors, moved = {torch.float64: 0.0, torch.float32: 0.0}, float("inf")
    for seed in (0, 1):
        chosen = subject.random_plan(seed)
        for kind, law in ((torch.float64, DOUBLE), (torch.float32, SINGLE)):
            model, inputs = subject.model.to(kind), subject.inputs
            inputs = inputs.to(kind) if inputs.is_floating_point() else inputs
            smaller, whole = xp.cut(model, chosen), run(model, inputs)
            with xp.masked(model, chosen):
                masked = run(model, inputs)
            hold(bool(torch.isfinite(masked).all()), "outputs of the mask are not finite")
            error = apart(masked, run(smaller, inputs))
            hold(error <= law, f"mask and cut differ by {error:.2g} of the largest output in {str(kind)[6:]}")
            errors[kind], moved = max(errors[kind], error), min(moved, apart(whole, masked))
    hold(moved >= MOVED, f"the cut moves the output by {moved:.2g} only: nothing can be seen")
    return {"double": errors[torch.float64], "single": errors[torch.float32], "moved": moved}


def save_and_load(subject: Subject) -> dict:
    """The cut, read from its file into a model of other weights, answers the same."""
    chosen = subject.random_plan(0)
    smaller = xp.cut(subject.model, chosen)
    with tempfile.TemporaryDirectory() as folder:
        xp.prune.save_cut(smaller, chosen, Path(folder) / "cut")
        loaded = xp.prune.load_cut(lambda: subject.build(1), Path(folder) / "cut")
    error = apart(run(smaller, subject.inputs), run(loaded, subject.inputs))
    hold(error == 0, f"the loaded cut differs by {error:.2g}")
    return {}


def fold(subject: Subject) -> dict:
    """The folded model computes the same."""
    count = _batch_norms(subject.model)
    if not count:
        raise NotApplicableError("no batch normalisation")
    folded = xp.graph.fold_batch_norm(subject.model)
    error = apart(subject.outputs, run(folded, subject.inputs))
    hold(error <= SINGLE, f"the folded model differs by {error:.2g}")
    return {"folded": count - _batch_norms(folded), "of": count, "error": error}


def _batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def equalize(subject: Subject) -> dict:
    """The equalized model computes the same."""
    if (pairs := pairs_by_hand(subject.model)) == []:
        raise NotApplicableError("no two layers can be paired")
    try:
        equal = xp.quantize.equalize(subject.model)
    except ValueError as error:
        hold("follow each other" not in str(error) or not pairs, f"says that no two layers can be paired: {pairs} can")
        raise
    error = apart(subject.outputs, run(equal, subject.inputs))
    hold(error <= SINGLE, f"the equalized model differs by {error:.2g}")
    return {"error": error}


#: What commutes with a positive factor, or becomes a clamp for each channel.
_PASSED_ON = ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "Identity", "Dropout", "Dropout2d", "BatchNorm2d", "BatchNorm1d")
_PASSED_ON += ("relu", "relu_", "relu6", "leaky_relu", "dropout")


def pairs_by_hand(model: nn.Module) -> list[tuple[str, str]] | None:
    """Convolutions, or linear layers, that follow each other, by their calls; None where ``torch.fx`` cannot say."""
    try:
        graph = torch.fx.Tracer().trace(model)
    except Exception:
        return None
    layers = {node: model.get_submodule(node.target) for node in graph.nodes if node.op == "call_module"}
    calls, found = Counter(node.target for node in layers), []
    for node, layer in layers.items():
        after = node
        while len(after.users) == 1:
            (after,) = after.users
            kind = type(layers[after]).__name__ if after in layers else getattr(after.target, "__name__", after.target)
            if kind not in _PASSED_ON:
                break
        both = isinstance(layer, nn.Conv2d) and isinstance(layers.get(after), nn.Conv2d)
        both |= isinstance(layer, nn.Linear) and isinstance(layers.get(after), nn.Linear)
        if both and after is not node and calls[node.target] == calls[after.target] == 1:
            found.append((node.target, after.target))
    return found


def _simulated(subject: Subject) -> nn.Module:
    if subject.architecture.task == "detection":
        raise NotApplicableError("detection")
    seen = xp.quantize.calibrate(subject.model, subject.inputs)
    return xp.quantize.simulate(subject.model, seen, xp.quantize.INT8)


def simulate(subject: Subject) -> dict:
    """Calibrated and simulated in 8 bits: finite, not the float model, and every layer's weights on a grid."""
    simulated = _simulated(subject)
    error = _distance(subject.outputs, run(simulated, subject.inputs), subject.outputs)
    hold(0 < error < float("inf"), f"the simulation is {error:.2g} away from the model")
    layers = xp.quantize.quantized_layers(simulated)
    values = max(len(layer.weight.detach()[0].unique()) for layer in layers.values())
    hold(values <= 255, f"a channel's weights have {values} values")
    return {"error": error}


def int8(subject: Subject) -> dict:
    """Integer kernels say what the simulation says: at most twice as far from it as that is from the model, and 2 %."""
    expected = run(_simulated(subject), subject.inputs)
    content = xp.quantize.int8_bytes(subject.model, subject.inputs)
    found = xp.deploy.runnable(content)(subject.inputs)
    error, simulated = (_distance(expected, part, subject.outputs) for part in (found, subject.outputs))
    hold(error <= 2 * simulated + 0.02, f"{error:.2g} from the simulation, which is {simulated:.2g} from the model")
    return {"error": error, "simulated": simulated}


def _distance(one: torch.Tensor, other: torch.Tensor, of: torch.Tensor) -> float:
    return ((one - other).norm() / of.norm()).item()


def books(subject: Subject) -> dict:
    """Relevance: what arrives anywhere is what the model answered, and the answer is the model's own."""
    composite = relevance.COMPOSITES["epsilon-plus"]
    _, ledger = relevance.propagate(subject.answering, subject.inputs, subject.labels, composite=composite)
    answers = run(subject.answering, subject.inputs).gather(1, subject.labels[:, None])[:, 0]
    hold(torch.allclose(ledger.output, answers, rtol=1e-4, atol=1e-5), "relevance runs another model")
    error = ledger.error.max().item()
    hold(error <= 1e-3, f"the books are off by {error:.2g} of the answer")
    return {"error": error}


def gradients(subject: Subject) -> dict:
    """Heatmaps by gradient times input equal those by a formula of three lines, and no parameter has a gradient."""
    found = xp.explain.heatmaps(subject.answering, subject.inputs, subject.labels, method="gradient x input")
    if not subject.inputs.is_floating_point():
        hold(found.shape == subject.inputs.shape, f"heatmaps of tokens have shape {tuple(found.shape)}")
        hold(bool(found.isfinite().all() and found.any()), "heatmaps are 0 or not finite")
        return {}
    inputs = subject.inputs.clone().requires_grad_()
    chosen = subject.answering(inputs).gather(1, subject.labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, inputs)
    by_hand = gradient * subject.inputs
    if found.shape != by_hand.shape:
        by_hand = by_hand.sum(1)
    error = apart(by_hand, found)
    hold(error <= SINGLE, f"heatmaps differ by {error:.2g} from the formula")
    hold(all(p.grad is None for p in subject.model.parameters()), "parameters have gradients afterwards")
    return {"error": error}


def drift(subject: Subject) -> dict:
    """The drift between a model and itself is 0, and that to one with other weights is not."""
    one, other = subject.answering, copy.deepcopy(subject.answering)
    pictures = subject.inputs.is_floating_point() and subject.inputs.ndim == 4
    how = {} if pictures else {"method": "gradient x input"}  # the default covers squares of pictures
    same = xp.explain.drift(one, other, subject.inputs, subject.labels, **how).values
    with torch.no_grad():
        for tensor in other.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.1 * (tensor.std(correction=0) + 1e-3))
    apart = xp.explain.drift(one, other, subject.inputs, subject.labels, **how).values
    hold(bool((same == 0).all()), f"drift between equal models is {same.abs().max():.2g}")
    hold(bool(apart.isfinite().all() and (apart > 0).any()), f"drift to other weights is {apart.tolist()}")
    return {}


def onnx(subject: Subject) -> dict:
    """The file says what the model says, also for one input in place of two."""
    with tempfile.TemporaryDirectory() as folder:
        written = xp.deploy.export(subject.model, subject.inputs, Path(folder) / "model.onnx")
        errors = [apart(subject.outputs[:n], written(subject.inputs[:n])) for n in (2, 1)]
    hold(max(errors) <= 1e-3, f"the file's outputs differ by {max(errors):.2g}")
    return {"error": max(errors)}


def peer(subject: Subject) -> dict:
    """torch-pruning on the same model, with the same question: is the cut the mask?"""
    model, inputs = subject.model.double(), subject.inputs
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    whole = run(model, inputs)
    masked, found = torch_pruning(model, inputs, output_layers(model, inputs))
    error, moved = apart(masked, found), apart(whole, masked)
    hold(error <= DOUBLE, f"mask and cut differ by {error:.2g} of the largest output in float64")
    hold(moved >= MOVED, f"the cut moves the output by {moved:.2g} only: nothing can be seen")
    return {"double": error, "moved": moved}


#: Column of the page to function. What is left out for large models comes after the cut; the peer's comes last.
VERBS: dict[str, Callable[[Subject], dict]] = {
    "find_units": find_units,
    "cut": cut,
    "score by taylor": score_taylor,
    "plan": plan,
    "save and load": save_and_load,
    "fold": fold,
    "equalize": equalize,
    "simulate": simulate,
    "int8": int8,
    "relevance": books,
    "gradients": gradients,
    "drift": drift,
    "ONNX": onnx,
    "torch-pruning": peer,
}
#: What is asked of every model.
FOR_ALL = ("find_units", "cut", "torch-pruning")

#: A next step: an imperative that begins a sentence or a part of one, or an argument to give.
_WAY_OUT = re.compile(
    r"(?:[.;:,?(] |\b(?:or|then|and) )(?:add|build|call|choose|convert|detach|fold|give|ignore|install|leave|load|"
    r"lower|make|move|name|pass|prune|put|replace|run|set|take|train|try|use|wrap|write)\b|"
    r"\b(?:ignore|output|loss|targets)=|\bxp\.",
    re.IGNORECASE,
)
#: Sentences that give another reason than the true one: they count as wrong.
_FALSE = re.compile(r"; add the batch axis|take no part in evaluation|no gradient flows from the output")


def tried(subject: Subject, verb: str) -> dict:
    """A row of the table: ``verdict``, ``told`` and numbers.

    Parameters
    ----------
    subject : Subject
    verb : str
        Key of ``VERBS``.

    Returns
    -------
    dict
        ``verdict`` is "right", "refused" (by the kit, with a cause and a way out), "wrong" or "not applicable".
    """
    start = time.perf_counter()
    subject.model.float()
    try:
        found = {"verdict": "right", "told": ""} | VERBS[verb](subject)
    except NotApplicableError as error:
        found = {"verdict": "not applicable", "told": str(error)}
    except AssertionError as error:
        found = {"verdict": "wrong", "told": _sentence(error)}
    except Exception as error:
        found = {"verdict": "refused" if refusal(error) else "wrong", "told": _sentence(error)}
        if found["verdict"] == "wrong" and not _own(error):
            found["told"] = f"{type(error).__name__}: {found['told']}"
        elif found["verdict"] == "wrong":
            found["told"] = f"{'a false reason' if _FALSE.search(str(error)) else 'no way out'}: {found['told']}"
    return found | {"seconds": time.perf_counter() - start}


def _own(error: BaseException) -> bool:
    """Whether the kit raised it, on purpose."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(xp.__file__).parent)
    return isinstance(error, ValueError | TypeError | xp.deploy.UnavailableError) and (
        frames[-1].filename.startswith(package) and (frames[-1].line or "").startswith(("raise", "need"))
    )


def refusal(error: BaseException) -> bool:
    """Whether an error is a sentence of the kit with a way out."""
    return _own(error) and bool(_WAY_OUT.search(str(error))) and not _FALSE.search(str(error))


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
