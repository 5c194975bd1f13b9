"""Soft coefficients: what fraction of each group goes, for the best reconstruction at a given sparsity."""

# In stored tables: soft coefficients

from .baselines import all_or_nothing, at_random, by_norm, global_ranking, uniform
from .descend import descend, finite_differences
from .grid import combinations, grid_search
from .problem import SoftProblem, SoftResult
from .relax import gated, gates, relax
from .search_profile import cheapest_first, group_losses
from .surface import harden, onto_surface

__all__ = [
    *("SoftProblem", "SoftResult", "all_or_nothing", "at_random", "by_norm", "cheapest_first", "combinations"),
    *("descend", "finite_differences", "gated", "gates", "global_ranking", "grid_search", "group_losses"),
    *("harden", "onto_surface", "relax", "uniform"),
]
