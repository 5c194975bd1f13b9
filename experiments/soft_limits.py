"""The smallest autoencoder that still meets a bound, and encoder and decoder pruned by different owners."""

from __future__ import annotations

import bisect
import copy
import functools

from torch import nn

from experiments import soft as sweeps
from experiments.setting import WHOLE, Setting
from experiments.soft_tuned import JUDGED, SEEN, codes, trained
from experiments.table import Table
from xaiprune import data
from xaiprune.data import Split
from xaiprune.measure import psnr
from xaiprune.prune import Plan, cut, plan, soft

#: What an application asks for, in dB; the wanted sparsity that are tried; images that decide whether it is met.
BOUND, LEVELS, ASKED = 20.0, tuple(round(0.1 + 0.025 * step, 3) for step in range(35)), 1000
#: Sparsity of the whole when two owners prune.
RHO = 0.7


def smallest(seed: int, at: Setting = WHOLE) -> list[dict]:
    """One row per method and number of epochs: the highest level whose model meets the bound, by bisection.

    The bound is read on validation images that no search saw; the test images then say whether it is met.
    """
    model, by, problem_at = sweeps.problem_factory(seed, at)
    test, train = at.split(data.mnist, "test", JUDGED), at.split(data.mnist, "train", SEEN)
    validation = data.mnist("validation", sweeps.IMAGES + (at.images or ASKED))
    asked = Split(*(part[sweeps.IMAGES :] for part in validation))
    searches = {
        "uniform": soft.uniform,
        "global fisher": functools.partial(soft.global_ranking, scores=by["fisher"]),
        "descend": functools.partial(soft.descend, max_evaluations=at.few(350)),
    }
    levels = LEVELS if at.whole else (0.1, 0.9)
    rows = []
    for method, search in searches.items():
        found = functools.cache(lambda rho, search=search: search(problem_at(rho)))
        for epochs in (0, 1):

            @functools.cache
            def made(rho: float, found=found, epochs=epochs) -> nn.Module:
                return trained(cut(model, found(rho).plan), train, seed, epochs, at)

            count = bisect.bisect(levels, False, key=lambda rho, made=made: psnr(made(rho), asked) < BOUND)
            rho = levels[max(count - 1, 0)]
            row = {"seed": seed, "method": method, "epochs": epochs, "sparsity": round(found(rho).sparsity, 5)}
            row |= {"parameters": sum(part.numel() for part in made(rho).parameters())}
            rows.append(row | {"asked": round(psnr(made(rho), asked), 4), "test": round(psnr(made(rho), test), 4)})
    return rows


def components(seed: int, at: Setting = WHOLE) -> list[dict]:
    """Encoder and decoder pruned together or apart, with all of the code's numbers kept, and tuned for an epoch.

    Apart, each owner takes its half of what has to go and has the other's part as it was; tuned apart, too.
    """
    model, by, problem_at = sweeps.problem_factory(seed, at)
    test, train = at.split(data.mnist, "test", JUDGED), at.split(data.mnist, "train", SEEN)
    chosen, kept = problem_at(RHO).data, [name for name in problem_at(RHO).names if name != "latent"]
    sides = {side: [name for name in kept if name.startswith(side)] for side in ("encoder", "decoder")}

    def problem(names: list[str], rho: float = RHO) -> soft.SoftProblem:
        return soft.SoftProblem(model, by["fisher"].only(*names), chosen, rho, 0.01 * rho / RHO)

    most = at.few(350)
    apart = [soft.descend(problem(names, RHO / 2), max_evaluations=most).coefficients for names in sides.values()]
    whole = problem(kept)
    plans = {
        "together": soft.descend(whole, max_evaluations=most).coefficients,
        "apart": {**apart[0], **apart[1]},
        "global fisher": soft.global_ranking(whole, whole.scores).coefficients,
    }
    rows = []
    for method, coefficients in plans.items():
        both = plan(by["fisher"], coefficients=coefficients)
        halves = [
            plan(by["fisher"], coefficients={name: coefficients[name] for name in names}) for names in sides.values()
        ]
        about = {"seed": seed, "method": method}
        about |= {"sparsity": round(whole.count.of({n: len(both.removed.get(n, ())) for n in kept}, whole.groups), 5)}
        smaller = cut(model, both)
        states = {
            "cut": smaller,
            "tuned together": trained(smaller, train, seed, 1, at),
            "tuned apart": _apart(model, halves, train, seed, at),
        }
        for state, net in states.items():
            row = about | {"state": state, "test": round(psnr(net, test), 4), **codes(model, net, both, test)}
            rows.append(row | {"old encoder": round(psnr(_joined(model, net), test), 4)})
    return rows


def _apart(model: nn.Module, halves: list[Plan], train: Split, seed: int, at: Setting) -> nn.Module:
    """The encoder tuned before the old decoder, the decoder behind the old encoder, and the two put together."""
    encoding, decoding = (cut(model, half) for half in halves)
    encoding.decoder.requires_grad_(False)
    for part in (decoding.encoder, decoding.latent):
        part.requires_grad_(False)
    return _joined(*(trained(one, train, seed, 1, at) for one in (encoding, decoding)))


def _joined(encoding: nn.Module, decoding: nn.Module) -> nn.Module:
    joined = copy.deepcopy(encoding)
    joined.decoder = copy.deepcopy(decoding.decoder)
    return joined.eval()


_ABOUT = {
    "code": (*sweeps.CODE, "training"),
    "checkpoints": tuple(f"{sweeps.MODEL}-seed{seed}.safetensors" for seed in sweeps.SEEDS),
    "tried": [(0,)],
    "at": Setting(images=16, count=2, training={"epochs": 1, "batch_size": 8}),
    "tolerance": 0.01,
}
TABLES = [
    Table("soft_smallest", smallest, [(seed,) for seed in sweeps.SEEDS], **_ABOUT),
    Table("soft_components", components, [(seed,) for seed in sweeps.SEEDS], **_ABOUT),
]
