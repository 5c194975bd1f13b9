"""Compression and explanations: closed forms, what may not change, and the page that tells the stored table."""

from __future__ import annotations

import pytest
import torch

from experiments import compressed_explanations as effects
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
    """The changes of the two long tables, in their order: seeds and ruined networks are told in words."""
    return sorted(
        (change for change in found.changes(network) if change[3] in (0, 50) and change[0] != effects.RUINED),
        key=lambda change: (ORDER.index(change[0]), change[1], change[2]),
    )


ORDER = [*explain.HARMLESS, "none", effects.WEIGHTS, "taylor", "relevance", "magnitude", "random", *effects.QUANTIZED]


def place(found, network, change) -> str:
    told = found.scale(network).place(found.values(network, change, explain.RULER[0], effects.DRIFT))
    return "{:.2f} [{:.2f}, {:.2f}]".format(*told)


def large(found) -> list[str]:
    """The table of EfficientNet-Lite0, by gradient x input."""
    network, name, lines = effects.LITE, "gradient x input", []
    for change in shown_changes(found, network):
        row = [called(change), per_cent(found.digits(network, change, "same"))]
        row += [cell(found.difference(network, change, name, MASS, stayed=stayed)) for stayed in (False, True)]
        row += [cell(found.difference(network, change, name, measure)) for measure in (effects.TWO, "concentration")]
        lines.append([*row, place(found, network, change)])
    return [f"| {' | '.join(row)} |" for row in lines]


def small(found) -> list[str]:
    """The table of the transformer: ROAD by two methods and by the picture itself, which no network is asked for."""
    network, lines = effects.VIT, []
    for change in shown_changes(found, network):
        row = [called(change), per_cent(found.digits(network, change, "same"))]
        names = (*effects.BOTH, "the image itself")
        row += [cell(found.difference(network, change, name, "ROAD")) for name in names]
        row.append(cell(found.difference(network, change, effects.BOTH[0], "concentration")))
        lines.append([*row, place(found, network, change)])
    return [f"| {' | '.join(row)} |" for row in lines]


def others(found) -> list[str]:
    """All methods at four compressions: object mass, and ROAD of the transformer."""
    lines = []
    for network, measure in ((effects.LITE, MASS), (effects.VIT, "ROAD")):
        for name in (*effects.BOTH, *effects.OTHERS[network], *effects.BLIND):
            base = found.values(network, effects.ORIGINAL, name, measure).mean().item()
            row = [name if network == effects.LITE else f"{name}, transformer", f"{base:.2f}"]
            row += [cell(found.difference(network, change, name, measure)) for change in effects.FOUR]
            lines.append(f"| {' | '.join(row)} |")
    return lines
