"""A recipe on one page: pictures, scorecards, and the lines that make it again."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .. import plots
from ..core import save_atomically
from ..data import Split, as_split
from ..explain import METHODS
from ..measure import ACCURACY
from ..training import classification_loss
from .run import CompressionResult
from .store import told

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd }
pre { background: #f5f5f5; padding: .8rem; white-space: pre-wrap } img { max-width: 100% }
"""


def report(done: CompressionResult, data: dict[str, Split], path: Path | str, *, explained: int = 6) -> Path:
    """Write what a recipe did as one HTML file that needs nothing else.

    Parameters
    ----------
    done : Compressed
        From ``compress``, or the ``nearest`` of an ``OutOfBudgetError``.
    data : mapping of str to Split, or to data of another form
        "validation", whose first images are explained; of a "test" split the metric is told, for the original and for
        the last model.
    path : Path or str
    explained : int

    Returns
    -------
    Path

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    >>> points = xp.data.Split(torch.rand(20, 1, 8, 8), torch.arange(20) % 2)
    >>> data, steps = dict.fromkeys(("train", "validation", "calibration"), points), [xp.pipeline.Prune(k=4)]
    >>> done = xp.pipeline.compress(model, data, steps, folder="recipe", explained=10, repeats=1, progress=False)
    >>> page = xp.pipeline.report(done, data, "report.html", explained=2)
    >>> "Prune(k=4)" in page.read_text()
    True
    """
    data = {name: as_split(split, name=f"data[{name!r}]") for name, split in data.items()}
    facts, bounds = done.facts, done.budget.bounds
    held = "The budget holds." if not done.over else f"The budget does not hold: {', '.join(done.over)}."
    parts = [f"<h1>A compressed {html.escape(type(done.original).__name__)}</h1>"]
    asked = ", ".join(f"{name} {value:g}" for name, value in bounds.items())
    parts.append(f"<p>{f'Asked: {asked}. {held}' if bounds else 'No budget was given.'}</p>")
    steps = ",\n    ".join(map(repr, done.steps))
    options = {name: repr(facts[name]) for name in ("method", "explained", "place", "seed", "repeats")}
    usual = {"metric": told(ACCURACY), "loss": told(classification_loss)}
    own = [name for name, value in usual.items() if facts[name] != value]
    own += ["method"] if facts["method"] not in METHODS else []
    options |= {name: name for name in own}
    words = "".join(f", {name}={value}" for name, value in options.items())
    code = "".join(f"# {name}: {facts[name]}\n" for name in own)
    code += f"compress(model, data, [\n    {steps},\n], {done.budget!r}{words}, folder={str(done.folder)!r})"
    parts.append(f"<h2>The recipe</h2><pre>{html.escape(code)}</pre>")
    parts.append(_picture(plots.recipe(done.rows, "What is left", bounds=bounds), "Shares of the costs by step"))
    parts.append(f"<h2>Scorecards</h2>{done.compare()._repr_html_()}")
    if "test" in data:
        metric = done.metric
        before, after = (metric(model, data["test"]) for model in (done.original, done.model))
        parts.append(f"<p>{metric.name} on {len(data['test'].inputs):,} test images: {before:.2f} and {after:.2f}.</p>")
    images = data["validation"].inputs[:explained]
    answers, models = done.original(images).argmax(1), {"original": done.original, "now": done.model}
    maps = {name: done.method(model, images, answers) for name, model in models.items()}
    parts.append("<h2>Where it looks</h2>")
    figure = plots.heatmap_rows(images, maps, f"Heatmaps by {done.method.name}")
    parts.append(_picture(figure, "Heatmaps of both models"))
    made = html.escape(json.dumps(facts, indent=2))
    parts.append(f"<h2>What it was made from</h2><pre>{made}</pre>")
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>xaiprune</title><style>{STYLE}</style>"
    page += f"<body>{''.join(parts)}</body></html>"
    path = Path(path)
    save_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def _picture(figure: Figure, words: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return f"<img alt='{words}' src='data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}'>"
