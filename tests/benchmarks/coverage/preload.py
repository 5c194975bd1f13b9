"""Imports that every process of the benchmark needs, made once before they are forked."""

import contextlib
import importlib

for name in ("torch.onnx", "torch_pruning", "torchvision", "onnx", "onnxruntime", "onnxscript", "timm", "transformers"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
for name in ("deploy", "explain", "graph", "prune", "quantize"):
    importlib.import_module(f"xaiprune.{name}")
