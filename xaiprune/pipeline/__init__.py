"""One call from a model to a smaller one, within a budget, and a search over recipes."""

from . import store
from .board import submit
from .budget import COSTS, DRIFT, PLACE, Budget
from .report import report
from .run import CompressionResult, OutOfBudgetError, compress
from .search import SearchResult, choices, orders, search
from .step import Stage, Step, Work
from .steps import Distill, Prune, Quantize, Round, Tune
from .store import load_stage, save_stage

__all__ = [
    "store",
    *("COSTS", "DRIFT", "PLACE", "Budget", "CompressionResult", "Distill", "SearchResult", "OutOfBudgetError"),
    *("Prune", "Quantize", "Round", "Stage", "Step", "Tune", "Work", "compress", "submit", "load_stage"),
    *("choices", "orders", "report", "save_stage", "search"),
]
