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
from .per_sample import (
    check_request,
    check_scalar,
    fisher_diagonal,
    gauss_newton_diagonal,
    gradient_moments,
    per_sample_gradients,
)

__all__ = [
    "Estimate",
    "HessianProduct",
    "by_relative_change",
    "by_standard_error",
    "check_request",
    "check_scalar",
    "exact_hessian",
    "fisher_diagonal",
    "gauss_newton_diagonal",
    "gradient_moments",
    "hessian_diagonal",
    "hessian_trace",
    "measured_rises",
    "per_sample_gradients",
    "top_eigenvalue",
]
