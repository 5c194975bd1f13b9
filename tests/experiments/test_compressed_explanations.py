"""Compression and explanations: closed forms, what may not change, and the page that tells the stored table."""

from __future__ import annotations

import pytest
import torch

from experiments import compressed_explanations as effects
from tests import ROOT
from xaiprune import explain
from xaiprune.experiments import tables

CUT = ("taylor", 0.2, False, 0)


def concentration(*values):
    return effects.CONCENTRATION(None, None, None, None, torch.tensor([[list(values)]]))[0].item()


def test_concentration_is_ginis_index():
    assert concentration(1.0, 1.0, -1.0, 1.0) == pytest.approx(0)
    assert concentration(0.0, 0.0, 0.0, -2.0) == pytest.approx(3 / 4)
    values = torch.rand(7, generator=torch.Generator().manual_seed(0)).tolist()
    apart = sum(abs(one - other) for one in values for other in values)
    assert concentration(*values) == pytest.approx(apart / (2 * 7 * sum(values)))
    assert concentration(0.0, 0.0) == 0


def made():
    """Rows of a small table: two pictures of one thing, one of another; the cut loses the last answer."""
    head = {"network": "net", "method": "m", "measure": "mass"}
    answers = {"network": "net", "method": effects.ANSWERS}
    rows = [head | name(effects.ORIGINAL) | {"values": [0.2, 0.4, 0.6], "groups": [3, 3, 8]}]
    rows += [head | name(CUT) | {"values": [0.3, 0.5, 0.0]}, answers | name(CUT) | {"stayed": "110"}]
    return rows


def name(change):
    return dict(zip(("kind", "amount", "tuned", "seed"), change))


def test_differences_are_paired_and_drawn_by_groups():
    found = effects.Found(made())
    mean, low, high = found.difference("net", CUT, "m", "mass")
    assert mean == pytest.approx(-0.4 / 3)
    drawn = explain.bootstrap(torch.tensor([0.1, 0.1, -0.6]), groups=torch.tensor([3, 3, 8]))
    assert (low, high) == pytest.approx(drawn[1:], rel=1e-6)
    assert found.difference("net", CUT, "m", "mass", stayed=True) == pytest.approx((0.1,) * 3)
    assert found.difference("net", CUT, "m", "mass", less=CUT)[0] == 0


def test_where_no_answer_stayed_there_is_no_difference():
    rows = made()
    rows[-1]["stayed"] = "000"
    assert effects.Found(rows).difference("net", CUT, "m", "mass", stayed=True) is None


def test_single_weights_that_went_stay_away_while_the_others_are_tuned(monkeypatch, tmp_path):
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path))
    at = effects.Setting(images=32, count=2, training={"batch_size": 16})
    before = effects.changed(effects.VIT, effects.WEIGHTS, 0.4, False, 0, at)
    after = effects.changed(effects.VIT, effects.WEIGHTS, 0.4, True, 0, at)
    both = [dict(model.named_parameters()) for model in (before, after)]
    names = [group.name for group in effects.find_weights(before)]
    assert all(torch.equal(both[0][one] == 0, both[1][one] == 0) for one in names)
    assert not any(torch.equal(both[0][one], both[1][one]) for one in names)


def test_what_judges_took_part_in_nothing():
    at = effects.Setting(images=4, count=4)
    known = effects.pictures(effects.LITE, at)
    assert set(known["explained"].grounds) <= set(effects.GROUNDS)
    things = {thing.name for thing in effects.data.scenes("unlabelled").cutouts}
    assert things.isdisjoint(known["explained"].objects)
    learned, scored = (effects.unlabelled(effects.LITE, purpose, at) for purpose in ("learn", "score"))
    assert not torch.equal(learned, scored)
    answers = effects.predict(effects.original(effects.LITE), known["explained"].inputs).argmax(1)
    assert torch.equal(answers, known["explained"].targets)


@pytest.fixture(scope="module")
def found():
    return effects.Found(tables.read("compressed_explanations"))


def test_maps_that_know_no_network_did_not_change(found):
    for change in found.changes(effects.LITE, "random"):
        for control in effects.BLIND:
            for measure in ("object mass", "pointing game", effects.TWO, "concentration"):
                assert found.difference(effects.LITE, change, control, measure) == (0, 0, 0)


# The page

SAID = {"magnitude": "magnitude", "taylor": "Taylor", "relevance": "relevance", "random": "random"}
MASS = "object mass"


def called(change) -> str:
    """A change in the words of the page."""
    kind, amount, tuned, _ = change
    if kind == "none":
        return "tuned alone"
    kind = f"{SAID.get(kind, kind)} {100 * amount:g} %" if amount else kind
    return f"{kind}, tuned" if tuned else kind


def cell(difference, digits=2) -> str:
    if difference is None:
        return "-"
    mean, low, high = (f"{value:+.{digits}f}" for value in difference)
    return f"{mean} [{low}, {high}]"


def per_cent(truths) -> str:
    return f"{100 * truths.double().mean():.0f}"


def shown_changes(found, network):
    """The changes of the two long tables, in their order; ruined networks and second seeds are told elsewhere."""
    return sorted(
        (change for change in found.changes(network) if change[3] in (0, 50) and change[0] != effects.RUINED),
        key=lambda change: (ORDER.index(change[0]), change[1], change[2]),
    )


ORDER = [
    *explain.HARMLESS,
    *effects.QUANTIZED,
    "none",
    *effects.OF_SINGLE,
    "taylor",
    "relevance",
    "magnitude",
    "random",
]


def place(found, network, change) -> str:
    if change not in found.changes(network, explain.RULER[0]):
        return "-"
    told = found.scale(network).place(found.values(network, change, explain.RULER[0], effects.DRIFT))
    return "{:.2f} [{:.2f}, {:.2f}]".format(*told)


def line(*cells) -> str:
    return f"| {' | '.join(cells)} |"


def large(found) -> list[str]:
    """EfficientNet-Lite0, by gradient x input."""
    network, name, lines = effects.LITE, effects.BOTH[0], []
    for change in shown_changes(found, network):
        masses = [cell(found.difference(network, change, name, MASS, stayed=stayed), 3) for stayed in (False, True)]
        more = [cell(found.difference(network, change, name, one), 3) for one in (effects.TWO, "concentration")]
        same = per_cent(found.digits(network, change, "same"))
        lines.append(line(called(change), same, *masses, *more, place(found, network, change)))
    return lines


def again(found) -> list[str]:
    """Object mass on other pictures, and after tuning in another order."""
    lines = []
    for change in effects.REPEATED:
        other = (*change[:3], 1)
        cells = []
        for name in (effects.BOTH[0], effects.AGAIN):
            for one in (change, other):
                known = one in found.changes(effects.LITE, name)
                cells.append(cell(found.difference(effects.LITE, one, name, MASS), 3) if known else "-")
        lines.append(line(called(change), *cells))
    return lines


def every(found) -> list[str]:
    """All methods at four changes: object mass."""
    lines = []
    for name in (*effects.BOTH, *effects.OTHERS, *effects.BLIND):
        base = found.values(effects.LITE, effects.ORIGINAL, name, MASS).mean().item()
        cells = [cell(found.difference(effects.LITE, change, name, MASS), 3) for change in effects.FOUR]
        lines.append(line(name, f"{base:.2f}", *cells))
    return lines


def small(found) -> list[str]:
    """The transformer: ROAD by two methods and by the picture itself, which no network is asked for."""
    network, lines = effects.VIT, []
    for change in shown_changes(found, network):
        names = (*effects.BOTH, "the image itself")
        roads = [cell(found.difference(network, change, name, "ROAD")) for name in names]
        focus = cell(found.difference(network, change, effects.BOTH[0], "concentration"), 3)
        same = per_cent(found.digits(network, change, "same"))
        lines.append(line(called(change), same, *roads, focus, place(found, network, change)))
    return lines


def counts(found, network, measures, *, harmless) -> tuple[int, int, int]:
    """Of how many intervals, by the two methods, how many lie above 0 and how many below it."""
    told = []
    for name in effects.BOTH:
        for change in found.changes(network, name):
            if change[0] != effects.RUINED and (change[0] in explain.HARMLESS) == harmless:
                known = [one for one in measures if (*change, network, name, one) in found.rows]
                told += [found.difference(network, change, name, one) for one in known]
    return len(told), sum(low > 0 for _, low, _ in told), sum(high < 0 for *_, high in told)


def test_the_page_shows_what_was_measured(found):
    text = (ROOT / "docs" / "compression_and_explanations.md").read_text(encoding="utf-8")
    for table in (large, again, every, small):
        assert "\n".join(table(found)) in text, table.__name__
    words = " ".join(text.split())
    for told in said(found):
        assert told in words, told


RETUNED, PER_TENSOR = ("none", 0.0, True, 1), ("int8 per tensor", 0.0, False, 0)
#: Differences that the words of the page tell.
TOLD = (
    (("magnitude", 0.1, True, 0), "gradient x input", MASS),
    ((effects.WEIGHTS, 0.4, True, 0), "gradient x input", MASS),
    (effects.TUNED_ALONE, "gradient x input", MASS),
    (RETUNED, "gradient x input", MASS),
    (RETUNED, effects.AGAIN, MASS),
    (("random single weights", 0.002, True, 0), effects.AGAIN, MASS),
    (("taylor", 0.2, False, 0), "gradient x input", MASS),
    (("taylor", 0.4, True, 0), "gradient x input", effects.TWO),
    (("taylor", 0.4, True, 0), "gradient x input", MASS),
    (("magnitude", 0.1, True, 1), "gradient x input", MASS),
    ((effects.WEIGHTS, 0.4, True, 0), "lrp", MASS),
    ((effects.WEIGHTS, 0.4, True, 0), "lrp by gamma", MASS),
    (("random", 0.1, False, 0), "gradient x input", MASS),
    (PER_TENSOR, "gradient x input", MASS),
    (PER_TENSOR, "lrp", MASS),
    (PER_TENSOR, "lrp by gamma", MASS),
    (("1 % noise on the weights", 0.0, False, 51), "coarse occlusion", MASS),
)


def test_nothing_became_better_without_tuning_and_road_by_nothing(found):
    lite, name = effects.LITE, effects.BOTH[0]
    changes = [change for change in shown_changes(found, lite) if not change[2]]
    assert all(found.difference(lite, change, name, MASS)[1] <= 0 for change in changes)
    for name in effects.BOTH:
        changes = shown_changes(found, effects.VIT)
        assert all(found.difference(effects.VIT, change, name, "ROAD")[1] <= 0 for change in changes)


def said(found) -> list[str]:
    """What the words of the page tell in numbers."""
    lite, vit, name = effects.LITE, effects.VIT, effects.BOTH[0]
    bases = [found.values(lite, effects.ORIGINAL, name, one).mean() for one in (MASS, effects.TWO, "concentration")]
    told = ["object mass {:.2f}, two objects {:.2f}, concentration {:.2f}".format(*bases)]
    for network, measures in ((lite, (MASS, effects.TWO, "concentration")), (vit, ("ROAD", "concentration"))):
        for harmless in (False, True):
            told.append(
                "of {} intervals {} lie above 0 and {} below".format(
                    *counts(found, network, measures, harmless=harmless)
                )
            )
    for change, one, measure in TOLD:
        told.append(cell(found.difference(lite, change, one, measure), 3))
    roads = [found.values(vit, effects.ORIGINAL, one, "ROAD").mean() for one in (*effects.BOTH, "the image itself")]
    told.append("ROAD {:.2f}, {:.2f} and {:.2f}".format(*roads))
    right = [per_cent(found.digits(lite, change, "right")) for change in (effects.ORIGINAL, effects.TUNED_ALONE)]
    told.append("from {} to {} %".format(*right))
    return told
