"""What units cost: parameters, operations, microseconds."""

from .latency import latency_costs
from .layer_costs import Costs, Layer, computing_layers, mac_costs
from .parameter_count import ParameterCount

__all__ = [
    "Costs",
    "Layer",
    "ParameterCount",
    "computing_layers",
    "latency_costs",
    "mac_costs",
]
