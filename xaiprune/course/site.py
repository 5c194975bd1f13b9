"""The course as static pages: Sphinx and myst-nb over the committed lessons, with nothing from the network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

from . import runner

#: Pages beside the lessons, from the repository's root, with the name they get.
PAGES = {"README.md": "index.md", "notebooks/README.md": "teaching.md"}
SETTINGS = {
    "project": "xaiprune",
    "extensions": ["myst_nb", "xaiprune.course.site"],
    "html_theme": "alabaster",
    "html_theme_options": {
        **{"page_width": "74rem", "sidebar_width": "15rem", "fixed_sidebar": True},
        **{"font_size": "16px", "code_font_size": "12px"},
    },
    "html_math_renderer": "mathml",
    "html_copy_source": False,
    "html_show_sphinx": False,
    "html_sidebars": {"**": ["about.html", "navigation.html", "searchbox.html"]},
    "myst_enable_extensions": ["dollarmath"],
    "nb_execution_mode": "off",
    "root_doc": "index",
    "suppress_warnings": ["myst.header", "myst.xref_missing", "mystnb.unknown_mime_type", "misc.highlighting_failure"],
}
CONTENTS = "\n\n```{toctree}\n:hidden:\n:maxdepth: 1\n\n%s\n```\n"


def build(folder: Path, root: Path | None = None) -> Path:
    """Build the site.

    Parameters
    ----------
    folder : Path
        Where the pages go; pages of an earlier build are replaced.
    root : Path, optional
        The repository; default the one that this package lies in.

    Returns
    -------
    Path
        The first page.

    Raises
    ------
    RuntimeError
        If Sphinx reports an error or a warning.
    """
    root = root or Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as temporary:
        source, report = Path(temporary) / "source", Path(temporary) / "warnings.txt"
        source.mkdir()
        lessons = runner.lessons(root / "notebooks")
        for path in lessons:
            nbformat.write(page(nbformat.read(path, as_version=4)), source / path.name)
        found = {name: target for name, target in PAGES.items() if (root / name).exists()}
        names = [*(path.stem for path in lessons), *(Path(t).stem for t in found.values() if t != "index.md")]
        for name, target in found.items():
            text = (root / name).read_text(encoding="utf-8").replace("](notebooks/", "](")
            text += CONTENTS % "\n".join(names) if target == "index.md" else ""
            (source / target).write_text(text, encoding="utf-8")
        with report.open("w") as warnings:
            application = Sphinx(
                source, None, folder, Path(temporary) / "trees", "html", SETTINGS, status=None, warning=warnings
            )
            application.build(force_all=True)
        if told := report.read_text().strip():
            raise RuntimeError(f"Sphinx has something to say:\n{told}")
    return Path(folder) / "index.html"


def setup(application: Sphinx) -> dict:
    """What Sphinx calls of an extension: formulas become MathML."""
    application.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def page(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A lesson as a page: solutions folded, pictures with their alt text."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "solution" in tags:
            cell.metadata["tags"] = [*tags, "hide-input"]
            cell.metadata.pop("jupyter", None)
        if "alt" in cell.metadata:
            cell.metadata["mystnb"] = {"image": {"alt": cell.metadata["alt"]}}
    return notebook


def _inline(writer, node) -> None:
    _formula(writer, node, block=False)


def _display(writer, node) -> None:
    _formula(writer, node, block=True)


def _formula(writer, node, block: bool) -> None:
    """A formula as MathML, which browsers draw themselves."""
    from docutils import nodes

    writer.body.append(str(latex2mathml.tex2mathml(node.astext(), as_block=block)))
    raise nodes.SkipNode
