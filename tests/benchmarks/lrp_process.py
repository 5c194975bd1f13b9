"""One process of the comparison with zennit: relevance of mobilenet_v2 on 16 images of 224 x 224.

``python -m tests.benchmarks.lrp_process ours`` (or ``zennit``) prints seconds per run and peak memory in MiB as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import torch
from torch import nn


def ours(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The same rules: flat in the first layer, z-plus in convolutions, epsilon in the dense layer."""
    from xaiprune.explain.relevance import propagate

    return propagate(model, images, targets, composite="epsilon-plus-flat")[0]


def zennit(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """EpsilonPlusFlat as it comes."""
    from zennit.composites import EpsilonPlusFlat

    with EpsilonPlusFlat().context(model) as hooked:
        pixels = images.clone().requires_grad_()
        output = hooked(pixels)
        start = nn.functional.one_hot(targets, output.shape[1]) * output.detach()
        return torch.autograd.grad(output, pixels, grad_outputs=start)[0]


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
    images, targets, run = (
        torch.rand(16, 3, 224, 224),
        torch.zeros(16, dtype=torch.long),
        {"ours": ours}.get(which, zennit),
    )
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
