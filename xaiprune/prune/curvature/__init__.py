"""Curvature: how the loss bends along weights, and what that says about which of them can go."""

from .exact import exact_hessian, measured_rises
from .hessian import (
    Estimate,
    HessianProduct,
    by_relative_change,
    by_standard_error,
    hessian_diagonal,
    hessian_trace,
    top_eigenvalue,
)
from .per_sample import fisher_diagonal, gradients, moments
from .saliency import (
    Damage,
    InverseFisher,
    inverse_fisher,
    obd,
    obs,
    obs_in_turn,
    surgery,
    with_gradient,
)

__all__ = [
    *("Damage", "Estimate", "HessianProduct", "InverseFisher"),
    *("by_relative_change", "by_standard_error", "exact_hessian"),
    *("fisher_diagonal", "gradients", "hessian_diagonal", "hessian_trace", "inverse_fisher"),
    *("measured_rises", "moments", "obd", "obs", "obs_in_turn", "surgery", "top_eigenvalue", "with_gradient"),
]
