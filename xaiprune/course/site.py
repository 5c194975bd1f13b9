"""The course as static pages: lessons, documentation and the API reference, with nothing from the network."""

from __future__ import annotations

import re
import shutil
import tempfile
from os.path import relpath
from pathlib import Path, PurePosixPath

import nbformat
from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import docutils_namespace, patch_docutils

from . import api, runner

#: Pages beside the lessons, from the repository's root, with the name they get. All of ``docs/`` keeps its names.
PAGES = {
    "README.md": "index.md",
    "notebooks/README.md": "teaching.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
SETTINGS = {
    "project": "xaiprune",
    "extensions": [
        *("myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"),
        "xaiprune.course.site",
    ],
    "autosummary_generate": False,
    "autodoc_typehints_format": "short",
    "html_theme": "alabaster",
    "html_theme_options": {
        **{"page_width": "74rem", "sidebar_width": "15rem", "fixed_sidebar": True},
        **{"font_size": "16px", "code_font_size": "12px"},
    },
    "html_math_renderer": "mathml",
    "html_static_path": ["style"],
    "html_css_files": ["formulas.css"],
    "html_copy_source": False,
    "html_show_sphinx": False,
    "html_sidebars": {"**": ["about.html", "navigation.html", "searchbox.html"]},
    "myst_enable_extensions": ["dollarmath"],
    "myst_heading_anchors": 3,
    "napoleon_google_docstring": False,
    "napoleon_use_ivar": True,
    "napoleon_use_rtype": False,
    "nb_execution_mode": "off",
    "python_maximum_signature_line_length": 88,
    "python_use_unqualified_type_names": True,
    "root_doc": "index",
    "suppress_warnings": ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"],
}
#: Fonts made for mathematics, of Windows, macOS and Linux: without one, browsers set exponents too high. And a matrix
#: stands close to its brackets.
_STYLE = """
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
math mtd { padding: 0.3ex 0.4em; }
math mtd:first-child { padding-left: 0; }
math mtd:last-child { padding-right: 0; }
"""
_CONTENTS = "\n\n```{toctree}\n:hidden:\n:maxdepth: 1\n:caption: %s\n\n%s\n```\n"
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s:#]+)(#[^()\s]*)?\)")
_MATHML = LatexToMathML(fancy_error=False)
_TOLD = logging.getLogger(__name__)


def build(folder: Path, root: Path | None = None, package: str = "xaiprune") -> Path:
    """Build the site.

    Parameters
    ----------
    folder : Path
        Where the pages go; those of an earlier build are replaced. Where the build fails, they stay.
    root : Path, optional
        The repository: its lessons, its ``README.md`` and what else of ``PAGES`` and ``docs/`` it has; default the one
        that this package lies in.
    package : str
        Name of the package that the API reference describes.

    Returns
    -------
    Path
        The first page.

    Raises
    ------
    RuntimeError
        If Sphinx reports an error or a warning: a formula that cannot be converted, a docstring that is not formatted
        as numpydoc and reStructuredText ask, a link that leads nowhere.
    """
    root = root or Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as temporary:
        source, made, report = (Path(temporary) / name for name in ("source", "site", "warnings.txt"))
        _gather(root, source, package)
        with report.open("w") as warnings, patch_docutils(), docutils_namespace():
            # Beside its output folder, myst-nb leaves one of its own: both are in the temporary one.
            application = Sphinx(
                source, None, made, Path(temporary) / "trees", "html", SETTINGS, status=None, warning=warnings
            )
            application.build(force_all=True)
        if told := re.sub(r"\x1b\[[\d;]*m", "", report.read_text()).strip().replace(f"{source}/", ""):
            raise RuntimeError(f"Sphinx has something to say:\n{told}")
        shutil.copytree(made, folder, dirs_exist_ok=True)
    return Path(folder) / "index.html"


def setup(application: Sphinx) -> dict:
    """What Sphinx calls of an extension: formulas become MathML, signatures readable.

    Parameters
    ----------
    application : Sphinx

    Returns
    -------
    dict
        What Sphinx may do with the extension.
    """
    application.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    application.connect("autodoc-process-signature", _readable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def page(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A lesson as a page: solutions folded, pictures with their alt text.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    NotebookNode
    """
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "solution" in tags:
            cell.metadata["tags"] = [*tags, "hide-input"]
            cell.metadata.pop("jupyter", None)
        if "alt" in cell.metadata:
            cell.metadata["mystnb"] = {"image": {"alt": cell.metadata["alt"]}}
    return notebook


def mathml(formula: str, *, display: bool = False) -> str:
    r"""Convert a formula to MathML, which browsers draw themselves.

    Parameters
    ----------
    formula : str
        LaTeX between dollars, such as ``\tfrac12 x``.
    display : bool
        Whether it stands on a line of its own.

    Returns
    -------
    str
        A ``math`` element.

    Raises
    ------
    ValueError
        If the formula is not understood, as with an unknown command, or would not be shown as it is meant.
    """
    try:
        made = _MATHML.convert_with_local_state(formula, displaystyle=display)
    except LatexError as error:
        place, _, words = str(error).partition(": ")
        raise ValueError(
            f"the formula {formula!r} is not understood at character {place}: {words} Write it with other commands of "
            "LaTeX's mathematics."
        ) from None
    if "<menclose" in made:
        raise ValueError(f"the formula {formula!r} has a box or a strike, which not all browsers draw: leave it out.")
    if r"\\" in formula and r"\begin" not in formula:
        raise ValueError(f"the formula {formula!r} breaks a line outside an environment: write it with aligned.")
    return made


def _gather(root: Path, source: Path, package: str) -> None:
    """Lay out Sphinx's sources: the lessons and pages of a repository and the API reference, under one contents."""
    lessons = {f"notebooks/{path.name}": path.name for path in runner.lessons(root / "notebooks")}
    pages = {name: place for name, place in PAGES.items() if (root / name).exists()}
    found = (path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md"))
    documents = {name: name for name in sorted(found, key=lambda name: (name.count("/"), name))}
    places = lessons | pages | documents
    (source / "style").mkdir(parents=True)
    (source / "style" / "formulas.css").write_text(_STYLE)
    if documents:
        shutil.copytree(root / "docs", source / "docs", ignore=shutil.ignore_patterns("*.ipynb"))  # with their pictures
    for name in lessons:
        notebook = page(nbformat.read(root / name, as_version=4))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = _linked(cell.source, name, places, root)
        nbformat.write(notebook, source / places[name])
    reference = [f"{room.partition('.')[2] or room} <api/{room}>" for room in api.write(source / "api", package)]
    teaching = pages.get("notebooks/README.md")
    contents = {
        "The course": [*lessons.values(), *([teaching] if teaching else [])],
        "Documentation": [*documents, *(place for place in pages.values() if place not in ("index.md", teaching))],
        "Reference": reference,
    }
    for name in pages | documents:
        text = _linked((root / name).read_text(encoding="utf-8"), name, places, root)
        if places[name] == "index.md":
            text += "".join(_CONTENTS % (caption, "\n".join(names)) for caption, names in contents.items() if names)
        (source / places[name]).write_text(text, encoding="utf-8")


def _linked(text: str, name: str, places: dict[str, str], root: Path) -> str:
    """Markdown whose links lead to where the pages lie on the site; a file that is no page is named without a link."""

    def link(match: re.Match) -> str:
        picture, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        target = relpath((root / name).parent / target, root)
        if place := places.get(target) or (picture and target.startswith("docs/") and target):
            return f"{picture}[{words}]({relpath(place, PurePosixPath(places[name]).parent)}{anchor})"
        return words if (root / target).exists() and not picture else match[0]

    return _LINK.sub(link, text)


def _readable(application, what, name, value, options, signature: str | None, returned: str | None):
    """A signature that Sphinx can read: a default such as ``<function accuracy>`` becomes an ellipsis."""
    before = None
    while signature and signature != before:  # brackets within brackets: ``<function Column.<lambda>>``
        before, signature = signature, re.sub(r"<[^<>]*>", "...", signature)
    return signature, returned


def _inline(writer, node) -> None:
    _formula(writer, node, display=False)


def _display(writer, node) -> None:
    _formula(writer, node, display=True)


def _formula(writer, node, display: bool) -> None:
    """Put a formula into a page; one that cannot be converted is told with the page's name."""
    try:
        writer.body.append(mathml(node.astext(), display=display))
    except ValueError as error:
        _TOLD.warning("%s", error, location=writer.builder.current_docname)
    raise nodes.SkipNode
