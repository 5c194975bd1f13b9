"""One process of the comparison with zennit: relevance of mobilenet_v2 on 16 images of 224 x 224.

``python -m tests.benchmarks.lrp_process ours 3`` (or another of ``RUNS``) prints seconds per run and peak memory in MiB
as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from functools import partial

import torch
from torch import nn


def ours(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, bias: str = "absorb") -> torch.Tensor:
    """The same rules: flat in the first layer, z-plus in convolutions, epsilon in the dense layer."""
    from xaiprune.explain.relevance import COMPOSITES, propagate

    return propagate(model, images, targets, composite=COMPOSITES["epsilon-plus-flat"].with_bias(bias))[0]


def zennit(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, **options) -> torch.Tensor:
    """EpsilonPlusFlat as it comes, or with its option for biases."""
    from zennit.composites import EpsilonPlusFlat

    with EpsilonPlusFlat(**options).context(model) as hooked:
        pixels = images.clone().requires_grad_()
        output = hooked(pixels)
        start = nn.functional.one_hot(targets, output.shape[1]) * output.detach()
        return torch.autograd.grad(output, pixels, grad_outputs=start)[0]


#: What a process can run. The second pair leaves biases out of the sums; the last has no counterpart in zennit.
RUNS = {
    "ours": ours,
    "zennit": zennit,
    "ours zero": partial(ours, bias="zero"),
    "zennit zero": partial(zennit, zero_params="bias"),
    "ours redistribute": partial(ours, bias="redistribute"),
}


def peak_mib() -> float:
    """Most resident memory of this process so far (Linux: of this program alone, not of the one that started it)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def main(which: str, runs: int) -> None:
    """Measure and print."""
    from torchvision.models import mobilenet_v2

    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = mobilenet_v2(weights=None).eval()
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # zennit's hooks need it; ours do not mind
    images, targets, run = torch.rand(16, 3, 224, 224), torch.zeros(16, dtype=torch.long), RUNS[which]
    with torch.no_grad():
        model(images[:1])
    base, seconds = peak_mib(), []
    for _ in range(runs):
        start = time.perf_counter()
        run(model, images, targets)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds[1:], "mib": peak_mib() - base}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
