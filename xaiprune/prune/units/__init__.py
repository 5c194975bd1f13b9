"""Units: the smallest things that can go, and what goes with them."""

from .blocks import RESIDUAL, find_blocks, inside, passed_over, without
from .dependency import copied
from .groups import Member, UnitGroup, check_groups, size_along
from .layers import LAYERS, block_size, is_grouped
from .plan import Plan
from .recurrent import find_memory
from .single_weights import find_weights, weight_group
from .transformer import find_dimensions, find_heads, find_neurons
from .units import find_units

__all__ = [
    "LAYERS",
    "RESIDUAL",
    "Member",
    "Plan",
    "UnitGroup",
    "block_size",
    "check_groups",
    "copied",
    "find_blocks",
    "find_dimensions",
    "find_heads",
    "find_memory",
    "find_neurons",
    "find_units",
    "find_weights",
    "inside",
    "is_grouped",
    "passed_over",
    "size_along",
    "weight_group",
    "without",
]
