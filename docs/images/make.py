"""Make the pictures of the documentation: ``python -m docs.images.make``, or ``... rooms`` for one of them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch
from PIL import Image

import xaiprune as xp
from tests import house
from xaiprune.widgets import StructureExplorer
from xaiprune.widgets.canvas import strip

HERE = Path(__file__).resolve().parent
#: Layers of rooms, from those that stand highest; inside of a layer, those that import one another are neighbours.
LAYERS = {
    "Tools": ("core", "plots"),
    "What there is": ("experiments", "nn", "graph", "data"),
    "Measured\nand trained": ("deploy", "measure", "training", "curvature"),
    "Explained": ("explain", "zoo"),
    "Made smaller": ("prune", "dynamic", "distill", "quantize"),
    "All together": ("pipeline",),
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
BOX, HEIGHT, GAP = (2.3, 0.74), 1.16, 0.4


def words(used: dict[str, set[str]]) -> str:
    """What the picture of the rooms says, as plain text: a line for each layer and each room.

    Parameters
    ----------
    used : dict of str to list of str
        Each room to those that it imports.

    Returns
    -------
    str
    """
    layers = [f"{' '.join(name.split())}: {', '.join(rooms)}" for name, rooms in LAYERS.items()]
    return "\n".join(
        [*layers, *(f"{room} imports {', '.join(sorted(others)) or 'none'}" for room, others in used.items())]
    )


def draw_rooms() -> Path:
    """The rooms as layers, and arrows inside of a layer: of the layers above, any room may be imported.

    Returns
    -------
    Path
    """
    used, places = house.plan(), {}
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rooms", "font.family": "sans-serif"}):
        figure = plt.figure(figsize=(10.2, 7.2), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        for row, (layer, rooms) in enumerate(LAYERS.items()):
            y = -row * HEIGHT
            axes.add_patch(FancyBboxPatch((-2.2, y - 0.5), 12.75, 1.0, "round,pad=0.02", fc="#EEF2F6", ec="none"))
            axes.text(-2.05, y, layer, va="center", fontsize=11, color="#444444", weight="bold")
            if row:
                arrow = {"arrowstyle": "-|>", "color": "#777777", "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", (-1.3, y + HEIGHT - 0.52), (-1.3, y + 0.52), arrowprops=arrow)
            for place, room in enumerate(rooms):
                x = places[room] = place * (BOX[0] + GAP)
                looks = {"fc": "white", "ec": "#0072B2", "lw": 1.3}
                axes.add_patch(FancyBboxPatch((x, y - BOX[1] / 2), *BOX, "round,pad=0.02", **looks))
                middle = x + BOX[0] / 2
                axes.text(middle, y + 0.14, room, ha="center", va="center", fontsize=12.5, weight="bold")
                axes.text(middle, y - 0.2, SUBJECTS[room], ha="center", va="center", fontsize=9)
            for room in rooms:
                for other in used[room] & set(rooms):
                    left = places[other] < places[room]
                    start, end = places[room] + BOX[0] * (not left), places[other] + BOX[0] * left
                    arrow = {"arrowstyle": "-|>", "color": "#D55E00", "lw": 2, "shrinkA": 0, "shrinkB": 0}
                    axes.annotate("", (end, y), (start, y), arrowprops=arrow)
        foot = "A room imports rooms of the layers above it (grey); beside it, only where an arrow says so (orange)."
        axes.text(4.2, -len(LAYERS) * HEIGHT + 0.42, foot, ha="center", fontsize=10.5, color="#444444")
        axes.set(xlim=(-2.3, 10.65), ylim=(-len(LAYERS) * HEIGHT + 0.25, 0.6))
        axes.axis("off")
        path, told = HERE / "rooms.svg", {"Date": None, "Creator": None, "Description": words(used)}
        figure.savefig(path, metadata=told)
    plt.close(figure)
    return path


def draw_kit() -> Path:
    """An explorer's stored pictures, and what the second cut does to the reasons.

    Returns
    -------
    Path
    """
    model, method = xp.zoo.load("mobilenet-fashion-mnist"), "integrated gradients"
    calibration, split = xp.data.fashion_mnist("calibration", 300), xp.data.fashion_mnist("validation", 100)
    settings = {f"{ratio} % of the channels go": (ratio, "taylor", "global", 7) for ratio in (10, 30)}
    explorer = StructureExplorer(model, calibration, split, method=method, stops=settings)
    views = {name: explorer.set(*setting) for name, setting in settings.items()}
    left = strip([explorer.draw(view) for view in views.values()], [f"{n}: {v.text}" for n, v in views.items()])
    units = xp.find_units(model, split[0][:1])
    plan = xp.plan(xp.score(model, units, "taylor", calibration), ratio=0.3)
    small = xp.prune.recalibrate(xp.cut(model, plan), calibration[0])
    drift = xp.explain.drift(model, small, split[0], method=method).value
    shown = split[0][[7, 1, 12]]
    models = {"original": model, "cut": small}
    maps = {name: xp.explain.heatmaps(one, shown, method=method) for name, one in models.items()}
    figure = xp.plots.heatmap_rows(shown, maps, f"30 % cut: drift {drift:.2f}")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    plt.close(figure)
    parts = [Image.open(io.BytesIO(png)).convert("RGB") for png in (left, stream.getvalue())]
    height = parts[0].height
    parts[1] = parts[1].resize((round(parts[1].width * height / parts[1].height), height))
    whole = Image.fromarray(np.concatenate([np.asarray(part) for part in parts], axis=1))
    path = HERE / "kit.png"
    whole.resize((1400, round(whole.height * 1400 / whole.width))).quantize(128).save(path, optimize=True)
    return path


PICTURES = {"kit": draw_kit, "rooms": draw_rooms}

if __name__ == "__main__":
    mpl.use("agg")
    xp.plots.use_style()
    for name in sys.argv[1:] or PICTURES:
        print(PICTURES[name]())
