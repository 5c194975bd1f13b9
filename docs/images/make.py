"""Make the pictures of the documentation: ``python docs/images/make.py``, or ``... rooms`` for one of them."""

from __future__ import annotations

import ast
import importlib.util
import io
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch
from PIL import Image

import xaiprune as xp
from xaiprune.widgets import StructureExplorer
from xaiprune.widgets.canvas import strip

HERE = Path(__file__).resolve().parent
#: Rooms side by side, from those that stand highest, and what such a layer is for.
LAYERS = {
    "Tools": ("core", "plots"),
    "What there is": ("data", "experiments", "nn", "graph"),
    "Measured, shipped, trained": ("measure", "deploy", "training", "curvature"),
    "Explained": ("explain", "zoo"),
    "Made smaller": ("prune", "quantize", "distill", "dynamic"),
    "Together": ("pipeline",),
    "For people": ("course", "widgets"),
}
SUBJECTS = {
    "core": "rows by name, checkpoints",
    "plots": "figures",
    "data": "inputs and targets",
    "experiments": "stored tables",
    "nn": "layers",
    "graph": "structure, hooks",
    "measure": "cost and ability",
    "deploy": "runtimes, export",
    "training": "one loop",
    "curvature": "Fisher, Hessian",
    "explain": "heatmaps, drift",
    "zoo": "models",
    "prune": "unit, score, plan, cut",
    "quantize": "coarser numbers",
    "distill": "teacher and student",
    "dynamic": "early exits",
    "pipeline": "recipes",
    "course": "claims, exercises",
    "widgets": "explorers",
}
BOX, HEIGHT, GAP = (2.35, 0.82), 1.32, 0.3


def imports() -> dict[str, list[str]]:
    """The rooms that each room imports, as its files say it.

    Returns
    -------
    dict of str to list of str
        In the order of ``xaiprune.ROOMS``.
    """
    package, found = Path(xp.__file__).parent, {room: set() for room in xp.ROOMS}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[0] not in found:
            continue
        here = ".".join(["xaiprune", *parts[:-1]])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), here)
                names = [base] if base != "xaiprune" else [f"xaiprune.{alias.name}" for alias in node.names]
                found[parts[0]] |= {name.split(".")[1] for name in names}
    return {room: [other for other in xp.ROOMS if other in used - {room}] for room, used in found.items()}


def words(used: dict[str, list[str]]) -> str:
    """What the picture of the rooms says, as plain text: a line for each layer and each room."""
    layers = [f"{name}: {', '.join(rooms)}" for name, rooms in LAYERS.items()]
    return "\n".join([*layers, *(f"{room} imports {', '.join(others) or 'none'}" for room, others in used.items())])


def draw_rooms() -> Path:
    """The rooms as layers; arrows inside of a layer only, since every layer may use all above it.

    Returns
    -------
    Path
    """
    used = imports()
    figure = plt.figure(figsize=(10.6, 8.6))
    axes = figure.add_axes((0, 0, 1, 1))
    places = {}
    for row, (layer, rooms) in enumerate(LAYERS.items()):
        y = -row * HEIGHT
        axes.add_patch(FancyBboxPatch((-2.2, y - 0.56), 12.9, 1.12, "round,pad=0.02", fc="#F2F5F8", ec="none"))
        axes.text(-2.05, y, layer, va="center", fontsize=11, color="#444444", weight="bold", wrap=True)
        for place, room in enumerate(rooms):
            places[room] = x, y = place * (BOX[0] + GAP), -row * HEIGHT
            box = FancyBboxPatch((x, y - BOX[1] / 2), *BOX, "round,pad=0.02", fc="white", ec="#0072B2", lw=1.3)
            axes.add_patch(box)
            axes.text(x + BOX[0] / 2, y + 0.14, room, ha="center", va="center", fontsize=12.5, weight="bold")
            axes.text(x + BOX[0] / 2, y - 0.2, SUBJECTS[room], ha="center", va="center", fontsize=9)
        if row:
            arrow = {"arrowstyle": "-|>", "color": "#777777", "lw": 1.4}
            axes.annotate("", (4.1, y + HEIGHT - 0.57), (4.1, y + 0.57), arrowprops=arrow)
    side = [(room, other) for rooms in LAYERS.values() for room in rooms for other in used[room] if other in rooms]
    for room, other in side:
        (x, y), (to, _) = places[room], places[other]
        bend = f"arc3,rad={0.0 if x - to < BOX[0] + GAP + 0.1 else 0.24}"
        start, end = ((x, y), (to + BOX[0], y)) if bend.endswith("0.0") else ((x + 0.6, y + 0.42), (to + 1.7, y + 0.42))
        looks = {
            "arrowstyle": "-|>",
            "color": "#D55E00",
            "lw": 1.4,
            "connectionstyle": bend,
            "shrinkA": 2,
            "shrinkB": 2,
        }
        axes.annotate("", end, start, arrowprops=looks)
    foot = (
        "A room imports rooms of the layers above its own (grey), and beside it only where an arrow says so (orange)."
    )
    axes.text(4.25, -len(LAYERS) * HEIGHT + 0.5, foot, ha="center", fontsize=10.5, color="#444444")
    axes.set(xlim=(-2.4, 10.9), ylim=(-len(LAYERS) * HEIGHT + 0.3, 0.75))
    axes.axis("off")
    path = HERE / "rooms.svg"
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rooms", "font.family": "sans-serif"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None, "Description": words(used)})
    plt.close(figure)
    return path


def draw_kit() -> Path:
    """An explorer's stored pictures beside what the cut did to the reasons.

    Returns
    -------
    Path
    """
    model, method = xp.zoo.load("mobilenet-fashion-mnist"), "integrated gradients"
    calibration, split = xp.data.fashion_mnist("calibration", 300), xp.data.fashion_mnist("validation", 200)
    settings = {f"{ratio} % of all channels cut": (ratio, "taylor", "uniform", 7) for ratio in (10, 30)}
    explorer = StructureExplorer(model, calibration, split, method=method, stops=settings)
    views = [explorer.set(*setting) for setting in settings.values()]
    left = strip([explorer.draw(view) for view in views], [f"{n}: {v.text}" for n, v in zip(settings, views)])
    units, images = xp.find_units(model, split[0][:1]), split[0][:60]
    plan = xp.plan(xp.score(model, units, "taylor", calibration), ratio=0.3, scope="uniform")
    small = xp.prune.recalibrate(xp.cut(model, plan), calibration[0])
    small = small if small is not None else None
    drift = xp.explain.drift(model, small, images, method=method)
    shown = images[[7, 1, 3, 12, 5]]
    maps = {name: xp.explain.heatmaps(m, shown, method=method) for name, m in (("original", model), ("cut", small))}
    figure = xp.plots.heatmap_rows(
        shown, maps, f"Drift {1 - drift.rank.median():.2f}: where the evidence is, before and after"
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    parts = [Image.open(io.BytesIO(png)).convert("RGB") for png in (left, stream.getvalue())]
    height = parts[0].height
    parts[1] = parts[1].resize((round(parts[1].width * height / parts[1].height), height))
    whole = Image.fromarray(np.concatenate([np.asarray(part) for part in parts], axis=1))
    path = HERE / "kit.png"
    whole.resize((1280, round(whole.height * 1280 / whole.width))).quantize(128).save(path, optimize=True)
    return path


PICTURES = {"kit": draw_kit, "rooms": draw_rooms}

if __name__ == "__main__":
    mpl.use("agg")
    xp.plots.use_style()
    for name in sys.argv[1:] or PICTURES:
        print(PICTURES[name]())
