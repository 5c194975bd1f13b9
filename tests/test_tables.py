"""Stored sweeps: tables that are refused when the code or a checkpoint is another; and what the soft table holds."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import soft, soft_sweep
from tests.benchmarks.report import Figure, table
from xaiprune.experiments import tables


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def made(own):
    """A table about one module and one checkpoint."""
    (own / "checkpoints").mkdir()
    (own / "checkpoints" / "net.safetensors").write_bytes(b"weights")
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    modules, files = ["xaiprune.measure.latency"], ["net.safetensors"]
    tables.write("mine", rows, command="make it", modules=modules, checkpoints=files, seconds=3.7)
    return rows


def test_a_table_keeps_its_rows_and_where_it_came_from(made, own):
    assert tables.read("mine") == made
    about = tables.made("mine")
    assert about == json.loads((own / "tables" / "mine.json").read_text())["made"]
    assert (about["command"], about["modules"], about["seconds"]) == ("make it", ["xaiprune.measure.latency"], 4)


def test_a_table_of_other_code_or_checkpoints_is_refused(made, own, monkeypatch):
    with pytest.raises(FileNotFoundError, match="there is no table"):
        tables.read("yours")
    (own / "checkpoints" / "net.safetensors").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"made from another net\.safetensors; renew it with `make it`"):
        tables.read("mine")
    monkeypatch.setattr(tables, "code_version", lambda *modules: "other")
    with pytest.raises(ValueError, match="made by other code; renew it with `make it`"):
        tables.read("mine")


def test_a_table_that_is_kept_says_why(made, monkeypatch):
    about = tables.made("mine")
    with pytest.raises(ValueError, match="was made by this code"):
        tables.keep("mine", "Nothing changed.")
    monkeypatch.setattr(tables, "code_version", lambda *modules: "other")
    with pytest.raises(ValueError, match="made by other code"):
        tables.read("mine")
    with pytest.raises(ValueError, match="why must be a sentence"):
        tables.keep("mine", " ")
    tables.keep("mine", "A message was reworded.")
    assert tables.read("mine") == made
    kept = [{"code": about["code"], "why": "A message was reworded."}]
    assert tables.made("mine") == about | {"code": "other", "kept": kept}


def test_the_version_of_code_is_of_what_it_does(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = '"""Doc."""\n\ndef f(x):\n    """More."""\n    if x:\n        raise ValueError("no")\n    return 1\n'
    versions = {}
    for name, text in {
        "plain": source,
        "reworded": source.replace("Doc.", "Other.").replace("no", "not so").replace("return", "# why\n    return"),
        "changed": source.replace("return 1", "return 2"),
    }.items():
        (tmp_path / f"module_{name}.py").write_text(text)
        versions[name] = tables.code_version(f"module_{name}")
    assert versions["plain"] == versions["reworded"] != versions["changed"]


def test_rows_are_picked_and_compared():
    rows = [
        {"method": m, "seed": s, "v": v}
        for m, s, v in (("a", 0, 3), ("b", 0, 1), ("c", 0, 2), ("a", 1, 5), ("b", 1, 6))
    ]
    assert tables.where(rows, method="b", seed=1) == [rows[-1]]
    assert tables.lead(rows, "a", ["b", "c"], by=["seed"], key="v") == [1, -1]


def test_the_soft_table_is_up_to_date_and_complete():
    rows = soft_sweep.stored()
    for seed in soft_sweep.SEEDS:
        for rho in soft_sweep.CURVE:
            methods = {row["method"] for row in tables.where(rows, seed=seed, rho=rho)}
            assert {"descend", "relax", "uniform", "global fisher", "random 19"} <= methods
            assert ("grid" in methods) == (rho in soft_sweep.RHOS)
    assert all(abs(row["sparsity"] - row["rho"]) <= 0.01 for row in rows)


def test_the_figures_asked_for_hold_in_the_stored_table():
    figures = soft.search_figures(soft_sweep.stored())
    assert len(figures) >= 10
    assert all(figure.holds for figure in figures), table(figures)


def test_figures_say_whether_they_hold():
    good, bad = Figure("a", 1, 0.5, "<=", "ms", 0.4), Figure("b", 1, 0.5, ">=")
    assert good.holds
    assert not bad.holds
    lines = table([good, bad]).splitlines()
    assert lines[0].split() == ["figure", "asked", "aimed", "at", "measured", "unit", "holds"]
    assert lines[1].split() == ["a", "<=", "1", "<=", "0.4", "0.5", "ms", "yes"]
    assert lines[2].endswith("NO")


def test_an_interval_is_students():
    from scipy import stats

    values = [1.0, 2.0, 4.0, 4.5, 6.0]
    mean, low, high = tables.interval(values)
    expected = stats.t.interval(0.95, 4, loc=3.5, scale=stats.sem(values))
    assert (mean, low, high) == pytest.approx((3.5, *expected))
    with pytest.raises(ValueError, match="values must be at least two, got 1"):
        tables.interval([3.0])


def test_a_column_is_of_the_rows_that_match():
    rows = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 4}]
    assert tables.column(rows, "b", a=1) == [2, 3]
