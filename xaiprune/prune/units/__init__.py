"""Units: the smallest things that can go, and what goes with them."""

from .blocks import BLOCKS, RESIDUAL, Blocks, find_blocks
from .channels import CHANNELS
from .copies import copied
from .groups import Member, UnitGroup, check_groups, inside, size_along
from .kinds import ANY, KINDS, UnitKind
from .layers import LAYERS, axis_of_norm, block_size, is_depthwise, is_grouped, layer_of, normalises
from .plan import Plan
from .recurrent import MEMORY, find_memory
from .single_weights import WEIGHTS, find_weights, weight_group
from .transformer import HEADS, find_dimensions, find_heads, find_neurons, find_transformer_units

__all__ = [
    "ANY",
    "BLOCKS",
    "CHANNELS",
    "HEADS",
    "KINDS",
    "LAYERS",
    "MEMORY",
    "RESIDUAL",
    "WEIGHTS",
    "Blocks",
    "Member",
    "Plan",
    "UnitGroup",
    "UnitKind",
    "axis_of_norm",
    "block_size",
    "check_groups",
    "copied",
    "find_blocks",
    "find_dimensions",
    "find_heads",
    "find_memory",
    "find_neurons",
    "find_transformer_units",
    "find_weights",
    "inside",
    "is_depthwise",
    "is_grouped",
    "layer_of",
    "normalises",
    "size_along",
    "weight_group",
]
