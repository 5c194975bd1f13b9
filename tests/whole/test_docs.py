"""The documents: names that exist, links that lead somewhere, code that runs, pictures of today's package."""

from __future__ import annotations

import collections
import itertools
import pkgutil
import re
from xml.etree import ElementTree

import pytest
from PIL import Image

import xaiprune as xp
from docs.images import make
from experiments import drift_photographs, ground_truth, resolution
from experiments.recovery import KINDS, SHIPPED
from tests import ROOT, house

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "notebooks" / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PAGES}

each_page = pytest.mark.parametrize("name", TEXTS)


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def table(text: str) -> list[list[str]]:
    """The cells of all rows of tables."""
    lines = [line.strip("|") for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


@each_page
def test_its_links_lead_somewhere(name):
    text = re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.M | re.S)
    for target in re.findall(r"\]\((?!https?:)([^()\s]+)\)", text):
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        assert place.exists(), target
        assert not anchor or anchor in anchors(place.read_text(encoding="utf-8")), target


@each_page
def test_the_names_of_the_package_that_it_tells_exist(name):
    text = TEXTS[name].partition("## Old and new")[0] if name == "docs/names.md" else TEXTS[name]
    for told in re.findall(r"`((?:xaiprune|xp)(?:\.\w+)+)", text):
        if not told.endswith(".py"):
            pkgutil.resolve_name(told.replace("xp.", "xaiprune.", 1) if told.startswith("xp.") else told)


def test_the_package_is_told_room_by_room_with_names_that_exist():
    rows, room, rooms = table(TEXTS["docs/packages.md"])[1:], None, []
    for first, _, names in rows:
        if first:
            room = first.strip("`")
            rooms.append(room)
        told = re.findall(r"`([\w.]+)`", names)
        assert told
        for one in told:
            pkgutil.resolve_name(f"xaiprune.{room}.{one}")
    assert tuple(rooms) == xp.ROOMS


def test_the_architecture_lists_the_rooms_in_their_order():
    text = TEXTS["docs/architecture.md"].partition("Why this order")[0]
    told = [room for row in table(text)[1:] for room in re.findall(r"`(\w+)`", row[0])]
    assert tuple(told) == xp.ROOMS


@pytest.mark.parametrize("name", ["docs/analyse.md", "docs/packages.md"])
def test_its_code_runs(name, capsys):
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", TEXTS[name], re.M | re.S)), {})
    said = capsys.readouterr().out
    assert "parameters" in said
    assert "drift" in said.lower()


def test_the_page_on_photographs_shows_what_runs_and_what_was_measured(capsys):
    text = TEXTS["docs/photographs.md"]
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)), {})
    assert re.search(r"right among 1: \d+%\nright among 5: \d+%\n.* on a picture of ", capsys.readouterr().out)
    shown = {row[0]: row[1:] for row in table(text)}
    for row in xp.tables.read("objects"):
        for top, place in ((1, 0), (5, 1)):
            low, high = row[f"top-{top} interval"]
            told = shown[row["ground"]][place + 2 * (row["size"] == 0.8)]
            assert told == f"{row[f'top-{top}']:.0f} ({low:.0f} to {high:.0f})"


def test_the_page_on_ground_truth_shows_what_runs_and_what_was_measured(capsys):
    text = TEXTS["docs/ground_truth.md"]
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)), {})
    said = capsys.readouterr().out
    assert "re-initialised network" in said
    assert "biases would have had" in said
    judged = ground_truth.found(xp.tables.read("ground_truth"))
    shown = {row[0]: row[1:] for row in table(text.partition("## What came out")[2])}
    assert set(judged.values) < set(shown)
    for name, measured in judged.values.items():
        intervals = [judged.interval(name, measure) for measure in measured]
        assert shown[name] == [f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in intervals]


def test_the_readme_is_one_screen_with_two_commands_a_picture_and_three_ways_in():
    text = TEXTS["README.md"]
    shown = re.sub(r"!\[.*?\]", "![]", text, flags=re.S)
    assert len(shown.split()) <= 260
    assert shown.count("\n") <= 35
    assert text.index("make lab") < text.index("make test") < 900
    assert re.findall(r"^!\[[^\]]{40,}\]\((\S+)\)$", text, re.M) == ["docs/images/kit.png"]
    assert re.findall(r"^- \*\*(.*?)\*\*", text, re.M) == [
        "Follow the course",
        "Teach it",
        "Analyse a model of your own",
    ]
    assert "patented for some commercial uses" in text


def test_the_course_page_maps_every_lesson():
    lessons = [f"../notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))]
    assert re.findall(r"\]\((\.\./notebooks/\d.*?\.ipynb)\)", TEXTS["docs/course.md"]) == lessons


def test_ways_to_install_licences_and_free_alternatives_are_told():
    for words in ("TORCH_INDEX", "environment.yml", "XAIPRUNE_CACHE"):
        assert words in TEXTS["docs/install.md"]
    licences = TEXTS["docs/licences.md"]
    for words in ("CC BY-SA 3.0", "CC BY-SA 4.0", "MIT"):
        assert words in licences
    patented, free = licences.partition("## Patents")[2].split("Free alternatives:")
    for text in (patented, free):
        for name in re.findall(r'`"([^"]+)"`', text):
            assert name in xp.explain.METHODS or name in xp.prune.CRITERIA, name
    relevance = {name for name, row in xp.explain.METHODS.items() if row.function is xp.explain.lrp}
    assert relevance <= set(re.findall(r'`"([^"]+)"`', patented))


def test_the_picture_of_the_rooms_is_of_today():
    every = [room for rooms in make.LAYERS.values() for room in rooms]
    assert sorted(every) == sorted(xp.ROOMS) == sorted(make.SUBJECTS)
    layer = {room: place for place, rooms in enumerate(make.LAYERS.values()) for room in rooms}
    assert [layer[room] for room in xp.ROOMS] == sorted(layer.values()), "layers follow the order of the rooms"
    used = house.plan()
    assert all(layer[other] <= layer[room] for room, others in used.items() for other in others)
    beside = [
        abs(every.index(a) - every.index(b)) for a, others in used.items() for b in others if layer[a] == layer[b]
    ]
    assert set(beside) <= {1}, "arrows inside of a layer join neighbours"
    picture = ElementTree.parse(ROOT / "docs" / "images" / "rooms.svg").getroot()
    [told] = [element.text for element in picture.iter() if element.tag.endswith("}description")]
    assert told == make.words(used), "make it anew: python -m docs.images.make rooms"


def test_pictures_are_small_and_have_words():
    for path in (ROOT / "docs" / "images").iterdir():
        if path.suffix in (".png", ".svg"):
            assert path.stat().st_size < 150_000, path.name
            assert any(f"images/{path.name})" in text for text in TEXTS.values()), path.name
    with Image.open(ROOT / "docs" / "images" / "kit.png") as picture:
        assert picture.width >= 1000


def test_the_page_on_drift_shows_what_was_measured():
    text, lite = TEXTS["docs/drift.md"], "efficientnet-lite0"
    cuts, reasons, loud, places = (table(part)[1:] for part in text.split("\n## ")[1:5])
    rows = [*xp.tables.read("drift_resolution"), *xp.tables.read("drift_photographs")]
    measured = {}
    for row in xp.tables.where(rows, stage="report"):
        ruler = ", ".join(filter(None, (row["method"], row["likeness"])))
        against = row.get("against", "").replace("free grounds", "").replace("harmless kinds", "")
        for kind in ("sets", "single"):
            told = f"{row[kind]:.2f} [{row[f'{kind}_from']:.2f}, {row[f'{kind}_to']:.2f}]"
            measured[ruler, row["task"], row["network"], against, kind] = told
    for ruler, *cells in cuts:
        asked = [(f"Taylor cut of {ratio}", network) for network in (lite, "lenet-300-100") for ratio in RATIOS]
        ruler = ruler.replace(" (the default)", "")
        assert cells == [measured.get((ruler, *each, "", "sets"), "-") for each in asked]
    for ruler, *cells in reasons:
        asked = itertools.product((("ground", lite), ("tag, tuned", "lenet-5")), ("sets", "single"))
        ruler = ruler.replace(" (the default)", "")
        assert cells == [measured.get((ruler, *each, "", kind), "-") for each, kind in asked]
    for against, *cells in loud:
        asked = itertools.product((", ".join(xp.explain.RULER), "logits"), RATIOS)
        assert cells == [
            measured.get((one, f"Taylor cut of {ratio}", lite, against, "sets"), "-") for one, ratio in asked
        ]
    [ground] = xp.tables.where(rows, task="ground", stage="report", method="logits", likeness="cosine")
    right = [f"{ground['accuracy'][f'{side}, contradicting']:.0f} %" for side in ("tied", "free")]
    told = "networks on tied grounds have {} right and networks on free grounds {}"
    assert told.format(*right) in " ".join(text.split())
    known = xp.tables.read("drift_places")
    assert len(places) == len({row["change"] for row in known})
    for row in known:
        told = f"{row['place']:.2f} [{row['place_from']:.2f}, {row['place_to']:.2f}]"
        [cells] = [cells for change, *cells in places if change == row["change"]]
        assert cells[row["network"] != lite] == told


#: Of the cuts that drift is asked to hear.
RATIOS = ("2%", "5%", "10%")


def test_the_page_on_drift_tells_how_many_pictures_judge_and_what_noise_turns():
    words, lite = " ".join(TEXTS["docs/drift.md"].split()), "efficientnet-lite0"
    rows = [*xp.tables.read("drift_resolution"), *xp.tables.read("drift_photographs")]
    report = xp.tables.where(rows, stage="report")
    cuts = [row for row in report if row["network"] == lite and row["task"].startswith("Taylor")]
    digits = sorted({row["pictures"] for row in xp.tables.where(report, network="lenet-300-100")})
    kept, large = ({row["pictures"] for row in xp.tables.where(mine, network=lite)} for mine in (cuts, report))
    [judged], turned = {row["judged"] for row in cuts}, cuts[0]["turned"]
    assert all(row["turned"] == turned for row in cuts)
    noise, coarse = turned["1 % noise on the weights"], turned["8-bit weights per channel"]
    assert turned["0.1 % noise on the weights"] <= drift_photographs.FEW_TURN < min(noise, coarse)
    assert turned["batch statistics estimated anew"] > drift_photographs.HALF_TURN
    places = xp.tables.read("drift_places")
    [placed] = xp.tables.where(places, network=lite, change="1 % noise on the weights")
    assert placed["loudest"] == placed["change"]
    against = {"against": "8-bit weights per channel", "task": "Taylor cut of 2%"}
    rulers = (xp.explain.RULER, ("logits", ""), ("logits", "cosine"))
    sets = [xp.tables.where(cuts, **against, **dict(zip(("method", "likeness"), ruler))) for ruler in rulers]
    for told in (
        f"is judged on {judged} composites",
        f"LeNet-300-100 is judged on {resolution.SMALL} digits",
        f"on {min(kept)} to {max(kept)} of the composites, and on {digits[0]} or {digits[-1]} of the digits",
        f"drawn from {min(large)} to {max(large)} composites",
        f"1 % noise turns {100 * noise:.1f} % of the answers and 8-bit weights turn {100 * coarse:.1f} %",
        f"1 % noise, which keeps {100 - 100 * noise:.0f} % of the answers",
        f"it keeps {100 * placed['kept']:.0f} % of the answers, here {100 - 100 * noise:.0f} %",
        "in {:.2f} of the cases; logits tell it in {:.2f}, and by their angle in {:.2f}".format(
            *(row["sets"] for [row] in sets)
        ),
    ):
        assert told in words, told


def test_the_page_on_drift_tells_what_chose_the_ruler():
    text = TEXTS["docs/drift.md"].partition("## What chose the ruler")[2].partition("\n## ")[0]
    rows = [*xp.tables.read("drift_resolution"), *xp.tables.read("drift_photographs")]
    areas = {", ".join(filter(None, ruler)): sets for ruler, sets in resolution.choice(rows).items()}
    lines = [[ruler, *(f"{each:.2f}" for each in (*sets, sum(sets) / len(sets)))] for ruler, sets in areas.items()]
    shown = [[ruler.replace(" (the default)", ""), *cells] for ruler, *cells in table(text)[1:]]
    assert shown == [line for line in lines if line[0] in [ruler for ruler, *_ in shown]], "in the order of their means"
    assert shown[0][0] == lines[0][0] == ", ".join(xp.explain.RULER)
    assert max(areas, key=lambda ruler: sum(areas[ruler][:-1])) == lines[0][0], "without the ground"
    asked = [row for row in xp.tables.where(rows, stage="choice") if row.get("against", "") in NOT_LOUD]
    asked = [row for row in asked if (row["task"], row["network"]) in resolution.CHOSEN_BY]
    own = [
        xp.tables.where(asked, method=xp.explain.RULER[0], likeness=xp.explain.RULER[1], task=task, network=network)
        for task, network in resolution.CHOSEN_BY
    ]
    digits, tag, cut, ground = (row for [row] in own)
    lite = xp.tables.where(asked, method="gradient x input", task=cut["task"], network=cut["network"])
    [rank] = xp.tables.where(lite, likeness="rank correlation")
    three = collections.Counter()
    for row in xp.tables.where(asked, method="gradient x input"):
        three[row["likeness"]] += row["sets"]
    words = " ".join(text.split())
    for told in (
        f"{tag['pictures']} and {digits['pictures']} small pictures, {cut['pictures']} composites",
        f"and {ground['pictures']} for the ground",
        f"even with 1.00 there its best mean would be {(max(three.values()) + 1) / 4:.2f}",
        f"({rank['sets']:.2f}); its best likeness tells {max(row['sets'] for row in lite):.2f}",
        f"{ground['sets']:.2f} has an interval of [{ground['sets_from']:.2f}, {ground['sets_to']:.2f}]",
    ):
        assert told in words, told


#: Of the choice: cuts beside what is harmless, and networks beside those that learned without a tie.
NOT_LOUD = ("", "harmless kinds", "free grounds")


def test_the_page_on_photographs_tells_what_the_cut_lost():
    text = " ".join(TEXTS["docs/photographs.md"].split())
    rows = xp.tables.read("recovery")
    shown = {tuple(row[:3]): row[3:] for row in table(TEXTS["docs/photographs.md"].partition("| what goes")[2])}
    found = 0
    for row in rows:
        if (key := (way(row), row["step"], str(row["fold"]))) in shown:
            apart = "{difference, test:.1f} ({from, test:.1f} to {to, test:.1f})".format_map(row)
            assert shown[key] == [f"{row['accuracy, test']:.1f}", apart, f"{row['same, test']:.1f}"]
            found += 1
    assert found == len(shown)
    [small] = xp.tables.where(rows, **dict(zip(KINDS, SHIPPED)), step="int8", fold="all")
    [first] = xp.tables.where(rows, **dict(zip(KINDS, SHIPPED)), step="int8", fold=0)
    apart, low, high = (f"{small[f'{end}, test']:.1f}" for end in ("difference", "from", "to"))
    assert f"from {small['original, test']:.1f} to {small['accuracy, test']:.1f} %" in text
    assert f"a difference of {apart} points ({low} to {high}), and {small['same, test']:.0f} % of" in text
    assert f"{first['bytes'] / 1e6:.2f} MB" in text
    files = {way(row): row for row in xp.tables.where(rows, step="int8", fold=0)}
    own, whole, uncut, third, bare, drawn, alone = (
        files[what]
        for what in (
            way(first),
            "nothing cut",
            "nothing cut, 4 bits, trained",
            "33 % cut, taylor",
            f"{way(first)}, not trained",
            way(first).replace("taylor", "random"),
            f"{way(first)}, no other folds",
        )
    )
    same = [f"{row['same, test']:.0f} %" for row in (own, whole, uncut, third, bare, drawn, alone)]
    megabytes = [f"{row['bytes'] / 1e6:.2f} MB" for row in (uncut, third)]
    assert f"With nothing but 8 bits it is {same[1]}" in text
    assert f"make a file of {megabytes[0]} and keep {same[2]} of the answers of fold 0" in text
    assert f"the file has {megabytes[1]} and keeps {same[3]}" in text
    assert f"the same file keeps {same[4]} in fold 0, in place of {same[0][:-2]}" in text
    assert f"A random choice of units, trained alike, keeps {same[5]}" in text
    assert f"on the 176 things without labels alone, the same file keeps {same[6]} in fold 0" in text
    for what, *cells in table(TEXTS["docs/photographs.md"].partition("| way")[2].partition("\n\n")[0]):
        [row] = [row for row in xp.tables.where(rows, step="int8", fold=0) if way(row) == what]
        told = [f"{row['bytes'] / 1e6:.2f}", f"{row['same, validation']:.1f}", f"{row['same, test']:.1f}"]
        assert cells == told


def way(row: dict) -> str:
    """What was done to a network, as the page says it."""
    what = "nothing cut" if row["criterion"] == "none" else f"{100 - 100 * row['left']:.0f} % cut, {row['criterion']}"
    what += ", 4 bits" if row["bits"] == 4 else ""
    trained = bool(row["epochs"])
    if trained == (row["criterion"] == "none"):  # all others are trained, and the original is not
        what += ", trained" if trained else ", not trained"
    return what + (", no other folds" if row["by"] == "unlabelled" else "")
