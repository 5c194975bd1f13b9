"""Operations of aten by what they do with units; pointwise ones carry a tag of torch's."""

# ruff: noqa: SIM905
from __future__ import annotations

_MOVES = set(
    "view _unsafe_view reshape _reshape_alias permute transpose t slice select split split_with_sizes chunk unbind "
    "unsafe_split unsafe_split_with_sizes unsafe_chunk expand repeat flip roll index index_select unfold "
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle squeeze unsqueeze im2col diagonal narrow "
    "tile repeat_interleave rot90 numpy_T".split()
)
_SAME = set(
    "clone _to_copy detach alias lift_fresh lift_fresh_copy contiguous _prelu_kernel prelu copy_ native_dropout "
    "_weight_norm_interface tril triu masked_fill masked_fill_ bernoulli_ dropout relu_ relu hardtanh_ fill_ zero_ "
    "zeros_like ones_like full_like rand_like empty_like silu hardswish hardsigmoid mish elu celu selu leaky_relu "
    "softplus hardshrink softshrink log_sigmoid_forward as_strided".split()
)
_ADDS = {"sum", "linalg_vector_norm", "norm"}  # over units: zeros add nothing, which the proof judges
_REDUCES = _ADDS | set("mean amax amin max min var std var_mean std_mean prod logsumexp argmax argmin any all".split())
_MIXES = set("_softmax _log_softmax cumsum cumprod sort topk _fft_r2c _fft_c2r _fft_c2c cummax logcumsumexp".split())
_PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
_SPATIAL = (
    "avg_pool", "max_pool", "adaptive_", "_adaptive_", "upsample_", "_upsample", "reflection_pad", "replication_pad",
    "grid_sampler", "constant_pad", "fractional_max", "mkldnn_adaptive", "mkldnn_max", "quantized_max",
)  # fmt: skip
_NORMS = set("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training batch_norm".split())
_ATTENTION = "scaled_dot_product"
