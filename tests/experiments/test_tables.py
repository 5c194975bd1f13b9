"""Stored tables: refused when the code or a checkpoint is another, unless their probe gives what it gave."""

from __future__ import annotations

import argparse
import json
import sys

import pytest
import torch

import experiments
from experiments import __main__ as command
from experiments import distillation
from experiments import soft as soft_table
from experiments.setting import Setting
from experiments.table import TIMES, Table
from tests.benchmarks import controls, real, soft
from tests.benchmarks.report import Figure, table
from xaiprune.deploy import UnavailableError
from xaiprune.experiments import tables
from xaiprune.experiments.provenance import code_digest


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path))
    return tmp_path


PROBE = [{"a": 0.5, "b": ["x", 2.0]}]


@pytest.fixture
def made(own):
    """A table about one module and one checkpoint."""
    (own / "checkpoints").mkdir()
    (own / "checkpoints" / "net.safetensors").write_bytes(b"weights")
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    about = {"command": "make it", "code": ["latency"], "checkpoints": ["net.safetensors"], "seconds": 3.7}
    tables.write("mine", rows, probe=PROBE, **about)
    return rows


def other_code(monkeypatch):
    monkeypatch.setattr(tables, "code_digest", lambda *names: "other")


def test_a_table_keeps_its_rows_and_where_it_came_from(made, own):
    assert tables.read("mine") == made
    assert tables.names() == ["mine"]
    about = tables.made("mine")
    assert about == json.loads((own / "tables" / "mine.json").read_text())["made"]
    assert (about["command"], about["code"], about["seconds"]) == ("make it", ["latency"], 4)
    assert about["probe"] == {"tolerance": tables.TOLERANCE, "rows": PROBE}


def test_a_table_of_other_code_or_checkpoints_is_refused(made, own, monkeypatch):
    with pytest.raises(FileNotFoundError, match="there is no table"):
        tables.read("yours")
    (own / "checkpoints" / "net.safetensors").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"made from another net\.safetensors; renew it with `make it`"):
        tables.read("mine")
    other_code(monkeypatch)
    with pytest.raises(ValueError, match=r"made by other code.*carry mine.*renew it with `make it`"):
        tables.read("mine")


@pytest.mark.parametrize("earlier", [{}, {"probe": {"tolerance": 0.001, "rows": []}}])
def test_a_table_without_a_probe_says_how_to_renew_it(made, own, earlier):
    path = own / "tables" / "mine.json"
    content = json.loads(path.read_text())
    del content["made"]["probe"]
    content["made"] |= earlier
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="earlier form, without a probe: renew it with `make it`"):
        tables.read("mine")


def test_rows_are_carried_over_other_code_if_the_probe_still_gives_the_same(made, monkeypatch):
    about = tables.made("mine")
    with pytest.raises(ValueError, match="was made by this code"):
        tables.carry("mine", "Nothing changed.", PROBE)
    other_code(monkeypatch)
    with pytest.raises(ValueError, match="why must be a sentence"):
        tables.carry("mine", " ", PROBE)
    with pytest.raises(
        ValueError, match=r"row 0 of its probe, 'a': stored 0\.5, measured 0\.6\. Renew it with `make it`"
    ):
        tables.carry("mine", "Something changed.", [{"a": 0.6, "b": ["x", 2.0]}])
    tables.carry("mine", "A loop was written anew.", [{"a": 0.5001, "b": ["x", 2.0]}])
    assert tables.read("mine") == made
    kept = [{"digest": about["digest"], "why": "A loop was written anew."}]
    assert tables.made("mine") == about | {"digest": "other", "kept": kept}


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ([], "its probe has 0 rows, stored are 1"),
        ([{"a": 0.5}], "'b': stored ['x', 2.0], measured None"),
        ([{"a": 0.5, "b": ["x", 2.1]}], "'b': stored"),
        ([{"a": 0.5, "b": ["y", 2.0]}], "'b': stored"),
        ([{"a": True, "b": ["x", 2.0]}], "'a': stored"),
    ],
)
def test_differences_of_a_probe_are_named(made, probe, told):
    [found] = tables.differences("mine", probe)
    assert told in found
    assert tables.differences("mine", PROBE) == []


def test_a_table_without_a_probe_is_not_written(own):
    with pytest.raises(ValueError, match="probe is empty"):
        tables.write("mine", [], command="", code=["latency"], checkpoints=[], seconds=0, probe=[])
    with pytest.raises(ValueError, match="no module of xaiprune goes by 'nothing'"):
        tables.write("mine", [], command="", code=["nothing"], checkpoints=[], seconds=0, probe=PROBE)


def test_a_probe_is_replaced_only_by_the_code_that_made_the_table(made, monkeypatch):
    tables.store_probe("mine", [{"c": 2.0}], tolerance=0.1)
    assert tables.made("mine")["probe"] == {"tolerance": 0.1, "rows": [{"c": 2.0}]}
    assert tables.read("mine") == made
    assert tables.differences("mine", [{"c": 2.1}]) == []
    with pytest.raises(ValueError, match="probe is empty"):
        tables.store_probe("mine", [])
    other_code(monkeypatch)
    with pytest.raises(ValueError, match="made by other code"):
        tables.store_probe("mine", PROBE)


SOURCE = '''"""Doc."""

# In stored tables: mine

import torch.nn.functional as F
from torch import nn

HALF = 0.5


def scaled(values, by: float = HALF):
    """More."""
    if by == 0:
        raise ValueError("no")
    total = F.relu(values).sum(dim=1)
    return total * by


class Net(nn.Module):
    factor: int = 3

    def forward(self, x):
        return scaled(x, by=self.factor)
'''
SAME = {
    "words": SOURCE.replace("Doc.", "Other.").replace("no", "not so").replace("    total", "    # why\n    total"),
    "import": SOURCE.replace("import torch.nn.functional as F", "from torch.nn import functional").replace(
        "F.", "functional."
    ),
    "one more import": SOURCE.replace("from torch import nn", "import math\n\nfrom torch import nn"),
    "names": SOURCE.replace("scaled", "stretched")
    .replace("total", "both")
    .replace("factor", "times")
    .replace("by", "rate"),
    "order": SOURCE.replace("HALF = 0.5\n", "") + "\n\nHALF = 0.5\n",
    "annotation": SOURCE.replace(": float", "").replace("(self, x)", "(self, x: object) -> object"),
}
OTHER = {
    "number": SOURCE.replace("0.5", "0.25"),
    "operator": SOURCE.replace("total * by", "total / by"),
    "method": SOURCE.replace(".sum(", ".mean("),
    "function": SOURCE.replace("relu", "gelu"),
    "argument": SOURCE.replace("dim=1", "dim=2"),
    "base": SOURCE.replace("nn.Module", "nn.Identity"),
    "order of arguments": SOURCE.replace("F.relu(values)", "F.relu(by)"),
    "condition": SOURCE.replace("by == 0", "by == 1"),
}


def digest(folder, text, name="net.py"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return code_digest("mine", package=folder)


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_the_digest_leaves_out_what_computes_nothing(tmp_path, text):
    assert digest(tmp_path / "a", SOURCE) == digest(tmp_path / "b", text)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_the_digest_sees_what_computes(tmp_path, text):
    assert digest(tmp_path / "a", SOURCE) != digest(tmp_path / "b", text)


def test_the_digest_survives_a_move_and_a_split(tmp_path):
    whole = digest(tmp_path / "a", SOURCE)
    assert digest(tmp_path / "b", SOURCE, "elsewhere.py") == whole
    head, tail = SOURCE.split("class Net")
    (tmp_path / "c" / "deep").mkdir(parents=True)
    (tmp_path / "c" / "deep" / "half.py").write_text(head)
    lines = "# In stored tables: mine\n\nfrom torch import nn\n\nfrom .deep.half import scaled\n\n\nclass Net"
    assert digest(tmp_path / "c", lines + tail) == whole


def test_a_line_in_a_package_stands_for_all_modules_below(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text("# In stored tables: mine\n")
    (tmp_path / "room" / "net.py").write_text(SOURCE.replace("# In stored tables: mine\n", ""))
    assert code_digest("mine", package=tmp_path) == digest(tmp_path / "b", SOURCE)


def test_the_digest_is_the_same_in_every_version_of_python(tmp_path):
    assert digest(tmp_path, SOURCE) == "de66825f8f07", "as Python 3.11, 3.12 and 3.13 give it"


@pytest.mark.parametrize("name", tables.names())
def test_every_stored_table_can_be_read(name):
    assert tables.read(name)


def test_every_stored_table_is_made_by_an_experiment_that_says_the_same_of_it():
    assert sorted(experiments.tables()) == tables.names()
    for name, one in experiments.tables().items():
        made = tables.made(name)
        assert made["command"] == one.command
        assert made["code"] == sorted(one.code)
        assert sorted(made["checkpoints"]) == sorted(one.checkpoints)
        assert made["probe"]["tolerance"] == one.tolerance


@pytest.mark.parametrize("name", tables.names())
def test_the_probe_of_every_stored_table_gives_what_it_gave(name):
    threads = torch.get_num_threads()
    try:
        probe = experiments.tables()[name].probe()
    except UnavailableError as error:
        pytest.skip(str(error))
    assert tables.differences(name, probe) == []
    assert torch.get_num_threads() == threads
    assert not any(TIMES & set(row) for row in probe)


def test_the_command_line_shows_where_a_probe_differs_and_refuses_to_carry_rows_over_it(monkeypatch, capsys):
    name = "distillation_widths"
    assert command.main(["probe", name]) == 0
    monkeypatch.setitem(distillation.QUICKLY, "lr", 3.1e-3)
    assert command.main(["probe", name]) == 1
    assert "row 0 of its probe, 'labels': stored" in capsys.readouterr().out
    other_code(monkeypatch)
    assert command.main(["carry", name, "Another rate of learning."]) == 1
    assert "does not hold any more: row 0 of its probe" in capsys.readouterr().err
    assert command.main(["probe", name, "--store"]) == 1
    assert "was made by other code" in capsys.readouterr().err
    assert command.main(["probe", "widths"]) == 1
    assert "NAME must be one of" in capsys.readouterr().err


def test_the_command_line_lists_every_table_and_whether_it_is_up_to_date(monkeypatch, capsys):
    assert command.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(experiments.tables())
    assert all(line.endswith("up to date") for line in lines)


def test_a_table_is_made_part_by_part_and_an_interrupted_run_goes_on(own, monkeypatch):
    monkeypatch.setenv("XAIPRUNE_CACHE", str(own / "cache"))
    monkeypatch.setattr(sys.modules[__name__], "FAILS", True)
    table = Table("mine", part, [(1,), (2,)], code=("latency",), tried=[(1,)], at=Setting(count=3))
    with pytest.raises(RuntimeError, match="interrupted"):
        table.make()
    monkeypatch.setattr(sys.modules[__name__], "FAILS", False)
    table.make()
    assert tables.read("mine") == [{"part": 1, "count": 9}, {"part": 2, "count": 9}]
    assert MEASURED == [1, 2, 1]  # the first part once, and once for the probe
    assert tables.made("mine")["probe"]["rows"] == [{"part": 1, "count": 3}]


FAILS, MEASURED = False, []


def part(number, at):
    if number == 2 and FAILS:
        raise RuntimeError("interrupted")
    MEASURED.append(number)
    return [{"part": number, "count": at.few(9)}]


def test_rows_are_picked_and_compared():
    rows = [
        {"method": m, "seed": s, "v": v}
        for m, s, v in (("a", 0, 3), ("b", 0, 1), ("c", 0, 2), ("a", 1, 5), ("b", 1, 6))
    ]
    assert tables.where(rows, method="b", seed=1) == [rows[-1]]
    assert tables.lead(rows, "a", ["b", "c"], by=["seed"], key="v") == [1, -1]


def test_the_soft_table_is_up_to_date_and_complete():
    rows = tables.read("soft")
    for seed in soft_table.SEEDS:
        for rho in soft_table.CURVE:
            methods = {row["method"] for row in tables.where(rows, seed=seed, rho=rho)}
            assert {"descend", "relax", "uniform", "global fisher", "random 19"} <= methods
            assert ("grid" in methods) == (rho in soft_table.RHOS)
    assert all(abs(row["sparsity"] - row["rho"]) <= 0.01 for row in rows)


def test_the_figures_asked_for_hold_in_the_stored_table():
    figures = soft.search_figures(tables.read("soft"))
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


def test_benchmarks_find_the_rows_that_they_print():
    figures = real.drift_figures() + real.place_figures() + real.truth_figures()
    assert len({figure.name for figure in figures}) > 10
    assert controls.measured(argparse.Namespace(quick=True))
