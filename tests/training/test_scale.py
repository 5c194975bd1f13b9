"""Sweeps on a Dask cluster, and training in two processes."""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from xaiprune import data, experiments, zoo
from xaiprune.training import classification_loss, distributed, fit

TASKS = [(n, name) for n in range(12) for name in ("a", "b")]


def value(task) -> float:
    """A number that takes a moment, and no randomness."""
    n, name = task
    time.sleep(0.05)
    return float(np.sin(n) + len(name))


def where(task) -> float:
    return float(os.getpid())


@pytest.fixture(scope="module")
def cluster():
    with experiments.on_dask(workers=2) as client:
        yield client


def run(function, **options):
    return experiments.sweep(function, TASKS, identity={"of": "test"}, progress=False, **options)


def test_a_sweep_on_two_workers_is_that_of_one_process(cluster):
    with experiments.on_dask(cluster.scheduler.address):
        there = run(value)
        processes = set(run(where).values())
    assert there == run(value)
    assert list(there) == TASKS
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_each_worker_computes_with_one_thread(cluster):
    assert set(cluster.run(torch.get_num_threads).values()) == {1}


def faults_of_a_tensor() -> float:
    """Pages that the system has to hand out for a tensor of 4 MiB (1024 pages), the mean of 50 in a row."""
    torch.ones(1 << 20)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(50):
        torch.ones(1 << 20)
    return (resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before) / 50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of glibc")
def test_workers_keep_their_memory_from_one_tensor_to_the_next(cluster):
    futures = [cluster.submit(faults_of_a_tensor, pure=False) for _ in range(4)]
    assert max(cluster.gather(futures)) < 512


def marked(folder: Path, task) -> float:
    """The value, and a file that says which process began the task."""
    (folder / f"{os.getpid()}-{task}").touch()
    return value(task)


def test_a_killed_worker_loses_nothing(cluster, tmp_path):
    victim, began = next(iter(cluster.run(os.getpid).values())), tmp_path / "began"
    began.mkdir()

    def kill():
        while not list(began.glob(f"{victim}-*")):  # it has begun, and there is more to do
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with experiments.on_dask(cluster.scheduler.address):
        found = run(functools.partial(marked, began), table=tmp_path / "table.json")
    killer.join(timeout=10)
    assert not killer.is_alive()
    assert found == run(value)
    assert len({name.name.partition("-")[0] for name in began.iterdir()}) >= 2
    assert len(json.loads((tmp_path / "table.json").read_text())["rows"]) == len(TASKS)
    cluster.wait_for_workers(2, timeout=60)
    assert victim not in cluster.run(os.getpid).values()


SLOW = """
import sys, time
from xaiprune.experiments import sweeps
sweeps._EVERY = 0.1
def slow(task):
    time.sleep(0.05)
    return 2.0 * task[0]
sweeps.sweep(slow, [(n,) for n in range(10_000)], identity={}, table=sys.argv[1], progress=False)
"""


def test_a_killed_sweep_keeps_what_was_written(tmp_path):
    table = tmp_path / "table.json"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(table)])
    end = time.monotonic() + 60
    while not (table.exists() and len(json.loads(table.read_text())["rows"]) > 5) and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    rows = json.loads(table.read_text())["rows"]
    assert len(rows) > 5
    assert all(value == 2 * task[0] for task, value in rows)


def test_what_json_cannot_hold_is_said_before_anything_runs(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        experiments.sweep(lambda task: pytest.fail("it ran"), [(np.int64(1),)], identity={}, table=tmp_path / "t.json")


def test_a_scheduler_that_does_not_answer_is_named():
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"),
        experiments.on_dask("tcp://127.0.0.1:9", timeout=1),
    ):
        pass
    with pytest.raises(ValueError, match="workers must be at least 1"), experiments.on_dask(workers=0):
        pass


TRAINING = """
import json, sys
import torch
from lightning_fabric import Fabric
from xaiprune import data, zoo
from xaiprune.training import distributed, flip_and_shift
from xaiprune.core import seed_everything
from xaiprune.training import classification_loss, fit

torch.set_num_threads(1)
fabric = Fabric(accelerator="cpu", devices=int(sys.argv[1]), strategy="ddp" if sys.argv[1] != "1" else "auto")
fabric.launch()
seed_everything(0)
model = zoo.dense((32, 16))
loss = distributed.distributed_loss(fabric, model, classification_loss)
options = {"epochs": 3, "lr": 1e-2, "batch_size": 64, "augment": flip_and_shift, "progress": False}
rows = fit(model, data.mnist("train", 640), loss, **options)
if fabric.global_rank == 0:
    total = sum(p.double().abs().sum().item() for p in model.parameters())
    print(json.dumps({"losses": [row["loss"] for row in rows], "total": total, "processes": fabric.world_size}))
"""


def test_two_processes_train_as_one(tmp_path):
    script = tmp_path / "training.py"  # further processes are started from a file
    script.write_text(textwrap.dedent(TRAINING))
    found = {}
    for processes in (1, 2):
        command = [sys.executable, "-W", "ignore", str(script), str(processes)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        found[processes] = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    assert found[2]["processes"] == 2
    assert found[2]["losses"] == pytest.approx(found[1]["losses"], abs=1e-5)
    assert found[2]["total"] == pytest.approx(found[1]["total"], rel=1e-5)
    assert found[1]["losses"][0] > found[1]["losses"][-1]


class Two:
    """A Fabric of two processes, seen from one of them."""

    world_size, global_rank = 2, 1

    def setup_module(self, model):
        return model


def test_a_batch_that_cannot_be_shared_is_refused():
    model = zoo.dense((8,))
    with pytest.raises(ValueError, match="batch_size must be a multiple of 2 processes, got 33"):
        fit(
            model,
            data.mnist("train", 66),
            distributed.distributed_loss(Two(), model, classification_loss),
            epochs=1,
            lr=1e-3,
            batch_size=33,
        )
    with pytest.warns(UserWarning, match="batch normalisation counts each process's share"):
        distributed.distributed_loss(Two(), zoo.mobilenet(width=0.1), classification_loss)
