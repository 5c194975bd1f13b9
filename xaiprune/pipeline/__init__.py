"""One call from a model to a smaller one, within a budget, and a search over recipes."""

from .board import enter
from .budget import COSTS, DRIFT, Budget
from .report import report
from .run import Compressed, OutOfBudget, compress
from .search import Found, one_of, orders, search
from .step import Stage, Step, Work
from .steps import Distill, Prune, Quantize, Round, Tune
from .store import load_stage, save_stage

__all__ = [
    *("COSTS", "DRIFT", "Budget", "Compressed", "Distill", "Found", "OutOfBudget", "Prune"),
    *("Quantize", "Round", "Stage", "Step", "Tune", "Work", "compress", "enter", "load_stage"),
    *("one_of", "orders", "report", "save_stage", "search"),
]
