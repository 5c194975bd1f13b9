"""The site: lessons, documentation and the API reference as static pages."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import nbformat
import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from xaiprune.course import api, runner
from xaiprune.course.site import build, mathml

LESSONS = {path.stem: nbformat.read(path, as_version=4) for path in runner.lessons()}
MARKDOWN = MarkdownIt().use(dollarmath_plugin)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages; Sphinx's warnings are errors."""
    return build(tmp_path_factory.mktemp("site") / "pages").parent


def parsed(mathml):
    return ElementTree.fromstring(mathml.replace("&ApplyFunction;", "\u2061"))


def shape(element):
    """An element as its tag and its parts, or its text; without spaces and rows within rows, which mean nothing."""
    if not len(element):
        return element.text or ""
    parts = []
    for part in [shape(child) for child in element if child.tag != "mspace"]:
        loose = part[:1] == ("mrow",) and element.tag in ("math", "mrow")
        parts += part[1:] if loose else [part]
    return parts[0] if element.tag == "mrow" and len(parts) == 1 else (element.tag, *parts)


def formulas(text):
    """The formulas of a text in Markdown, and whether each stands on a line of its own."""
    for token in MARKDOWN.parse(text):
        for part in token.children or [token]:
            if part.type.startswith("math_"):
                yield part.content, part.type == "math_block"


def argument(latex):
    """What a command of TeX takes: a group in braces, a command, or one character; and what follows."""
    latex = latex.lstrip()
    if latex[0] != "{":
        length = len(re.match(r"\\[a-zA-Z]+|\\?.", latex)[0])
        return latex[:length], latex[length:]
    depth = 0
    for place, character in enumerate(latex):
        depth += (character == "{") - (character == "}")
        if not depth:
            return latex[1:place], latex[place + 1 :]
    raise ValueError(latex)


def fractions(latex):
    """Numerator and denominator of every fraction, in the order in which they are written."""
    for found in re.finditer(r"\\[dt]?frac(?![a-zA-Z])", latex):
        numerator, rest = argument(latex[found.end() :])
        yield numerator, argument(rest)[0]


def letters(text):
    """The Latin letters and digits that are seen, in any order: indices and exponents may change places."""
    text = re.sub(r"\\(exp|log|max|min)(?![a-zA-Z])", r"\1", text)
    return sorted(re.findall(r"[a-zA-Z0-9]", re.sub(r"\\(?:begin|end)\{\w+\}|\\[a-zA-Z]+", "", text)))


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_shows_each_formula_as_it_is_written(site, name):
    cells = [cell.source for cell in LESSONS[name].cells if cell.cell_type == "markdown"]
    written = [formula for source in cells for formula in formulas(source)]
    shown = re.findall(r"<math.*?</math>", (site / f"{name}.html").read_text(), flags=re.S)
    assert len(shown) == len(written)
    for (latex, block), element in zip(written, map(parsed, shown)):
        assert (element.get("display") == "block") == block, latex
        assert letters("".join(element.itertext())) == letters(latex), latex
        found = [tuple(letters("".join(part.itertext())) for part in parts) for parts in element.iter("mfrac")]
        assert found == [tuple(map(letters, parts)) for parts in fractions(latex)], latex


def test_the_lessons_have_fractions_to_show():
    sources = [cell.source for lesson in LESSONS.values() for cell in lesson.cells if cell.cell_type == "markdown"]
    found = [parts for source in sources for latex, _ in formulas(source) for parts in fractions(latex)]
    assert len(found) >= 8
    assert ("1", "2") in found


@pytest.mark.parametrize(
    ("latex", "meant"),
    [
        (r"\tfrac12 X", [("mfrac", "1", "2"), "X"]),
        (r"\frac12X", [("mfrac", "1", "2"), "X"]),
        (r"\frac1{2n}", [("mfrac", "1", ("mrow", "2", "n"))]),
        (r"\frac{w_q}2", [("mfrac", ("msub", "w", "q"), "2")]),
        (r"x^10", [("msup", "x", "1"), "0"]),
        (r"x^{10}", [("msup", "x", "10")]),
        (r"w_q^2", [("msubsup", "w", "q", "2")]),
        (r"\hat\alpha_i", [("msub", ("mover", "\u03b1", "\u02c6"), "i")]),
        (r"f'_i", [("msubsup", "f", "i", "\u2032")]),
        (r"\sqrt{x} \sqrt2y", [("msqrt", "x"), ("msqrt", "2"), "y"]),
        (r"\operatorname{rank}(A)", ["rank", "\u2061", "(", "A", ")"]),
        (r"\mathrm{relu}(x)", ["relu", "(", "x", ")"]),
        (r"\mathbb R^n", [("msup", "\u211d", "n")]),
        (r"\text{if } x", ["if\u00a0", "x"]),
        (r"\lVert x \rVert_2", ["‖", "x", ("msub", "‖", "2")]),
        (r"\sum_{i=1}^n x_i", [("munderover", "∑", ("mrow", "i", "=", "1"), "n"), ("msub", "x", "i")]),
    ],
)
def test_notation_means_in_mathml_what_it_means_in_latex(latex, meant):
    assert shape(parsed(mathml(latex, display=True))) == ("math", *meant)


@pytest.mark.parametrize("latex", [r"\nonsense x", r"\frac1", r"{x", "a & b", r"\begin{tikzpicture}x\end{tikzpicture}"])
def test_a_formula_that_is_not_understood_is_refused(latex):
    with pytest.raises(ValueError, match=r"is not understood at character [0-9]+: ") as refusal:
        mathml(latex)
    assert repr(latex) in str(refusal.value)


@pytest.mark.parametrize(
    ("latex", "told"),
    [(r"\boxed{x}", "not all browsers draw"), (r"\cancel{x}", "not all browsers draw"), (r"a = b \\ c = d", "aligned")],
)
def test_a_formula_that_would_be_shown_otherwise_than_meant_is_refused(latex, told):
    with pytest.raises(ValueError, match=told):
        mathml(latex, display=True)
    assert "<mtable" in mathml(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", display=True)


def test_the_site_has_every_lesson_with_its_outputs(site):
    for name, notebook in LESSONS.items():
        text = (site / f"{name}.html").read_text()
        pictures = re.findall(r"<img [^>]*>", text)
        shown = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        assert len([tag for tag in pictures if "_images/" in tag]) >= len(shown)
        for tag in pictures:
            source = re.search(r'src="([^"]+)"', tag).group(1)
            assert (site / source).exists()
            assert len(re.search(r'alt="([^"]*)"', tag).group(1)) > 20, tag
        assert "holds: " in text
        assert "hide" in text
        assert "$" not in re.sub(r"<(pre|script|math|code)\b.*?</\1>", "", text, flags=re.S)


def test_the_site_needs_no_network_and_its_links_lead_somewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', text)
        for target in re.findall(r'href="([^"#:]+\.html)', text):
            assert (path.parent / target).exists(), f"{path.name} -> {target}"
    assert 'href="00_start_here.html"' in (site / "index.html").read_text()
    assert "JupyterHub" in (site / "teaching.html").read_text()


def test_a_build_leaves_nothing_beside_its_folder(site):
    assert [path.name for path in site.parent.iterdir()] == ["pages"]
    assert not list(site.rglob("jupyter_execute"))


def test_the_reference_has_a_page_for_every_module_with_exports(site):
    package = runner.lessons()[0].parents[1] / "xaiprune"
    found = {path for path in package.rglob("*.py") if re.search(r"^__all__ = ", path.read_text(), re.M)}
    names = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__") for path in found
    }
    assert {path.stem for path in (site / "api").glob("*.html")} == names


@pytest.mark.parametrize("room", api.rooms())
def test_the_reference_describes_or_links_all_that_a_room_exports(site, room):
    text = (site / "api" / f"{room}.html").read_text()
    ends = set(re.findall(r'<dt [^>]*id="[\w.]*?(\w+)"|title="[\w.]*?(\w+)"|<code[^>]*><span class="pre">(\w+)<', text))
    assert set(api.rooms()[room]) <= {name for row in ends for name in row}
    assert "~" not in "".join(re.findall(r"<dt class=.*?</dt>", text, re.S)), "a signature that Sphinx cannot read"


TOY = {
    "__init__.py": '''
"""Toys."""

from . import shed
from .shed import rake

__all__ = ["rake", "shed"]
''',
    "shed/__init__.py": '''
"""The shed."""

from ._tools import TEETH, Broom, rake

__all__ = ["TEETH", "Broom", "rake"]
''',
    "shed/_tools.py": '''
"""Tools."""

#: Of a rake, by its size.
TEETH = {"small": 8, "large": 14}
__all__ = ["TEETH"]


class Broom:
    """A thing to sweep with."""

    def sweep(self):
        """Sweep once."""


def rake(leaves, strokes=len):
    """Rake leaves together.

    Parameters
    ----------
    leaves : int
        How many, at least :math:`\\\\tfrac12 n`.
    strokes : callable

    Returns
    -------
    float
        The height of the heap in metres.

    Examples
    --------
    >>> rake(3)
    0.1
    """
''',
    "private.py": '"""No room: it exports nothing."""\n\n\ndef hidden():\n    """Hidden."""\n',
}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Make a small repository: a front page, a lesson, documents, and a package, whose name it gives back."""

    def make(name, package=TOY, lesson=r"$\tfrac12 x$, [back](../README.md)", **documents):
        root = tmp_path / name
        files = {"README.md": "# Home\n\n[first](notebooks/01_one.ipynb), [licence](LICENSE)\n", "LICENSE": "Free."}
        files |= {f"{name}_package/{path}": text for path, text in package.items()}
        files |= {f"{path}.md": text for path, text in documents.items()}
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# One\n\n{lesson}")])
        (root / "notebooks").mkdir()
        nbformat.write(notebook, root / "notebooks" / "01_one.ipynb")
        monkeypatch.syspath_prepend(root)
        return {"root": root, "package": f"{name}_package"}

    yield make
    for module in [module for module in sys.modules if "_package" in module]:
        del sys.modules[module]


def test_the_reference_takes_its_rooms_and_their_words_from_the_package(repository, tmp_path):
    site = build(tmp_path / "site", **repository("toys")).parent
    assert {path.stem for path in (site / "api").iterdir()} == {"toys_package", "toys_package.shed"}
    top, shed = ((site / "api" / f"toys_package{room}.html").read_text() for room in ("", ".shed"))
    assert 'href="toys_package.shed.html#toys_package.shed.rake"' in top
    assert 'id="toys_package.rake"' not in top, "described where it lies deepest"
    for place in ("rake", "Broom", "Broom.sweep", "TEETH"):
        assert f'id="toys_package.shed.{place}"' in shed
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", shed))
    for said in ("Of a rake, by its size. 'small', 'large'", "leaves (int)", "The height of the heap", "rake(3) 0.1"):
        assert said in words.replace("&#39;", "'").replace("&gt;", "").replace("  ", " ")
    assert "<mfrac" in shed
    assert "Hidden" not in top + shed
    page = (site / "index.html").read_text()
    assert 'href="api/toys_package.shed.html">shed' in page
    assert 'href="01_one.html"' in page
    assert 'href="index.html"' in (site / "01_one.html").read_text().partition("</math>")[2]


def test_documents_are_taken_up_with_contents_of_their_own(repository, tmp_path):
    plain = build(tmp_path / "plain", **repository("plain"))
    assert "Documentation" not in plain.read_text()
    made = repository(
        "documented",
        **{
            "docs/names": "# Names\n",
            "docs/architecture": "# House\n\n![drawn](drawn.png) [own](extend/criterion.md#two) [empty](empty.ipynb)\n",
            "docs/extend/criterion": "# One\n\n[home](../../README.md) [one](../../notebooks/01_one.ipynb)\n\n## Two\n",
            "CHANGELOG": "# Changes\n\n[how](docs/architecture.md)\n",
        },
    )
    nbformat.write(nbformat.v4.new_notebook(), made["root"] / "docs" / "empty.ipynb")
    picture = next((plain.parent / "_static").glob("*.png"))
    (made["root"] / "docs" / "drawn.png").write_bytes(picture.read_bytes())
    site = build(tmp_path / "site", **made).parent
    index = (site / "index.html").read_text()
    contents = index.partition("Documentation")[2].partition("Reference")[0]
    links = ["docs/architecture.html", "docs/names.html", "docs/extend/criterion.html", "changelog.html"]
    assert re.findall(r'href="([^"]+)"', contents) == links
    assert 'href="extend/criterion.html#two"' in (site / "docs/architecture.html").read_text()
    assert "_images/drawn.png" in (site / "docs/architecture.html").read_text()
    assert 'href="../../01_one.html"' in (site / "docs/extend/criterion.html").read_text()
    assert 'href="docs/architecture.html"' in (site / "changelog.html").read_text()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("formula", {"lesson": r"$x$ and $\nonsense x$"}, r"01_one.*\\\\nonsense x.*Unknown command"),
        ("link", {"docs/names": "# Names\n\n[gone](gone.md)\n"}, r"docs/names\.md:3.*gone\.md"),
        (
            "docstring",
            {"package": TOY | {"shed/_tools.py": TOY["shed/_tools.py"].replace("Rake leaves", "Rake ``leaves")}},
            r"docstring of .*rake.*literal",
        ),
    ],
)
def test_a_mistake_in_a_page_is_named_and_an_earlier_site_stays(repository, tmp_path, name, change, told):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("earlier")
    made = repository(name, **change)
    with pytest.raises(RuntimeError, match=told):
        build(tmp_path / "site", **made)
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["index.html"]
    assert (tmp_path / "site" / "index.html").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "site"])
