"""Every picture of the course: pure functions of small tables and arrays.

Nothing here computes a result. Colours are Okabe and Ito's, which colour-blind readers can tell apart, and every
axis that has a better side says which.
"""

from .base import (
    BLUE,
    METHODS,
    RED,
    bands,
    bars,
    beside_controls,
    histories,
    image_rows,
    lines,
    montage,
    number_grid,
    use_style,
)
from .distillation import reliability_diagrams
from .explain import (
    EVIDENCE,
    draws_against_size,
    drift_by_class,
    faithfulness_curves,
    heatmap_rows,
    letters,
    rulers,
    scale_heatmaps,
    watch_lines,
    waterfall,
)
from .pipeline import recipe
from .quantization import channel_ranges, clips
from .soft import (
    coefficients_per_group,
    loss_against_saving,
    loss_curves,
    loss_per_parameter,
    psnr_against_sparsity,
    search_path,
    sparsity_curve,
)
from .structure import cliff, flow, frontier, runtime_bars
from .transformer import head_grid, head_maps
from .weights import histogram, sensitivity_curves, weight_histograms

__all__ = [
    *("BLUE", "EVIDENCE", "METHODS", "RED", "bands", "bars", "beside_controls", "channel_ranges", "cliff", "clips"),
    *("coefficients_per_group", "draws_against_size", "drift_by_class", "faithfulness_curves", "flow"),
    *("frontier", "head_grid", "head_maps", "heatmap_rows", "histogram", "histories", "image_rows"),
    *("letters", "lines", "loss_against_saving", "loss_curves", "loss_per_parameter", "montage"),
    *("number_grid", "psnr_against_sparsity", "recipe", "reliability_diagrams", "rulers", "runtime_bars"),
    *("scale_heatmaps", "search_path", "sensitivity_curves", "sparsity_curve", "use_style", "watch_lines"),
    *("waterfall", "weight_histograms"),
]
