"""Models as they are shipped: runtimes that time them, ONNX, and files that run without the code behind them."""

# In stored tables: runtimes

from ..measure import Shipped
from .export import FORMS, Exported, Form, export
from .frozen import Frozen
from .needs import UnavailableError, lacks_compiler, lacks_packages, need
from .onnx import OPSET, adds_products_exactly, fed, node_times, onnx_bytes, onnx_session, runnable
from .runtimes import RUNTIMES, Runtime, available, missing, prepare, runtime_latencies

__all__ = [
    *("Exported", "FORMS", "Form", "Frozen", "OPSET", "RUNTIMES", "Runtime", "Shipped", "UnavailableError"),
    *("adds_products_exactly", "available", "export", "fed", "lacks_compiler", "lacks_packages", "missing", "need"),
    *("node_times", "onnx_bytes", "onnx_session", "prepare", "runnable", "runtime_latencies"),
]
