"""Layer-wise relevance propagation: rules as data, applied by changing gradients."""

# In stored tables: relevance propagation

from . import operations
from .composites import COMPOSITES, Composite, Where, uniform
from .ledger import Ledger
from .lrp import inner_relevance, lrp, propagate
from .rules import BIASES, Part, PixelRule, Rule, alpha_beta, epsilon, flat, gamma, w_plus, z_box, z_plus
from .trace import modified_gradients

__all__ = [
    "operations",
    *("BIASES", "COMPOSITES", "Composite", "Ledger", "Part", "PixelRule", "Rule", "Where"),
    *("alpha_beta", "epsilon", "flat", "gamma", "inner_relevance", "lrp"),
    *("modified_gradients", "propagate", "uniform", "w_plus", "z_box", "z_plus"),
]
