"""What a recipe leaves on disk after each step, so that an interrupted run goes on where it was."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..core import digest, fingerprint, packed, save_atomically
from ..data import Choice, Split, chosen_on, mark
from ..deploy import Frozen
from ..measure import Metric
from ..prune import Plan
from .step import _FOLD, Stage, Step, _changed

#: What torch and safetensors say of a full disk, which is no OSError.
FULL = ("inline_container", "iostream error", "os error 27", "os error 28")
WEIGHTS, CHANGES, KERNELS, CARD = "weights.safetensors", "changes.json", "kernels.onnx", "card.json"


class Store:
    """A folder with a place for each beginning of a recipe: recipes that begin alike share it.

    Parameters
    ----------
    folder : Path or str
    original : nn.Module
    data : mapping of str to Split, or to data of another form
    identity : mapping
        What else the stages depend on.

    Attributes
    ----------
    hashes : dict of str to str
        SHA-256 of the weights and of each split, 12 hexadecimal digits.
    """

    def __init__(self, folder: Path | str, original: nn.Module, data: Mapping[str, Split], identity: Mapping):
        self.folder, self.original = Path(folder), original
        self.hashes = {"weights": digest(*original.state_dict().values())}
        self.hashes |= {name: digest(*split) for name, split in data.items()}
        self._root = fingerprint({"model": original, "data": data, **identity})

    def place(self, steps: Sequence[Step]) -> Path:
        """The folder of the stage that steps lead to.

        Parameters
        ----------
        steps : sequence of Step
            From the beginning of the recipe.

        Returns
        -------
        Path
            It need not exist. Its name holds a digest of the steps, the model, the data and the identity.
        """
        text = "\n".join([self._root, *map(fingerprint, steps)])
        name = f"{len(steps)}-{type(steps[-1]).__name__.lower()}" if steps else "0-original"
        return self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def unfinished(self, steps: Sequence[Step]) -> Path:
        """Where the last of the steps keeps what it has while it trains.

        Parameters
        ----------
        steps : sequence of Step
            From the beginning of the recipe.

        Returns
        -------
        Path
            A file, which need not exist.
        """
        return self.place(steps) / "unfinished.pt"

    def save(self, steps: Sequence[Step], stage: Stage) -> None:
        """Keep a stage.

        Parameters
        ----------
        steps : sequence of Step
            From the beginning of the recipe.
        stage : Stage
            What they led to.

        Raises
        ------
        OSError
            If the disk is full; what was kept before stays.
        """
        place = self.place(steps)
        with room(place):
            save_stage(stage, place)

    def load(self, steps: Sequence[Step], example: torch.Tensor) -> Stage | None:
        """The stage that steps lead to, if it was kept.

        Parameters
        ----------
        steps : sequence of Step
            From the beginning of the recipe.
        example : torch.Tensor
            Images; only their shape matters.

        Returns
        -------
        Stage or None
            Its model in evaluation mode.
        """
        place = self.place(steps)
        return load_stage(self.original, place, example) if (place / CHANGES).exists() else None

    def save_card(self, steps: Sequence[Step], content: dict) -> None:
        """Keep what was measured of a stage.

        Parameters
        ----------
        steps : sequence of Step
            From the beginning of the recipe.
        content : dict
            What JSON can hold.

        Raises
        ------
        OSError
            If the disk is full; what was kept before stays.
        """
        place = self.place(steps)
        with room(place):
            save_atomically(place / CARD, lambda path: path.write_text(json.dumps(content, indent=1)))

    def load_card(self, steps: Sequence[Step]) -> dict | None:
        """What was measured of a stage, if it was.

        Parameters
        ----------
        steps : sequence of Step
            From the beginning of the recipe.

        Returns
        -------
        dict or None
            As it was given to :meth:`save_card`.
        """
        path = self.place(steps) / CARD
        return json.loads(path.read_text()) if path.exists() else None


def told(value) -> str:
    """A function, a metric or a value that holds some, in words for a reader.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
    """
    if isinstance(value, Metric):
        return f"{value.name} by {told(value.function)}"
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if name else fingerprint(value)


def save_stage(stage: Stage, folder: Path | str) -> None:
    """Write what a recipe has made: weights, what changed the architecture, and integer kernels where there are some.

    A stage that lies there is replaced whole: until the new one is written, and where the disk is full, it stays.

    Parameters
    ----------
    stage : Stage
        Such as ``Compressed.stage``.
    folder : Path or str
        Gets ``weights.safetensors``, ``kernels.onnx`` and ``changes.json``.
    """
    frozen = isinstance(stage.model, Frozen)
    model = stage.model.made_from if frozen else stage.model
    state = {name: packed(tensor) for name, tensor in model.state_dict().items()}
    texts = [change if change == _FOLD else change.to_json() for change in stage.changes]
    content = {"changes": texts, "chosen_on": chosen_on(stage.model).to_json()}
    with _replaced(Path(folder)) as new:
        save_atomically(new / WEIGHTS, lambda path: save_file(state, path))
        if frozen:
            save_atomically(new / KERNELS, lambda path: path.write_bytes(stage.model.content))
        save_atomically(new / CHANGES, lambda path: path.write_text(json.dumps(content)))


@contextlib.contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A new folder beside one, whose files take the place of that one's stage once all of them are written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as name:
        yield Path(name)
        (folder / CHANGES).unlink(missing_ok=True)  # from here to the last line there is no stage, never a mixed one
        for file in (KERNELS, WEIGHTS, CHANGES):
            if (Path(name) / file).exists():
                os.replace(Path(name) / file, folder / file)
            else:
                (folder / file).unlink(missing_ok=True)


def load_stage(original: nn.Module, folder: Path | str, example: torch.Tensor) -> Stage:
    """What :func:`save_stage` wrote.

    Parameters
    ----------
    original : nn.Module
        The model that the recipe began with; its weights do not matter.
    folder : Path or str
    example : torch.Tensor
        Images; only their shape matters.

    Returns
    -------
    Stage
        Its model in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If the folder holds no stage.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    >>> plan = xp.prune.Plan(tuple(xp.find_units(model, torch.zeros(1, 2))), {"0": [1]})
    >>> xp.pipeline.save_stage(xp.pipeline.Stage(xp.cut(model, plan), (plan,)), "stage")
    >>> xp.pipeline.load_stage(model, "stage", torch.zeros(1, 2)).model[0].out_features
    2
    """
    folder = Path(folder)
    if not (folder / CHANGES).exists():
        raise FileNotFoundError(f"{folder} holds no stage: {CHANGES} is missing.")
    content = json.loads((folder / CHANGES).read_text())
    texts = content["changes"] if isinstance(content, dict) else content  # before stages said what they were chosen on
    choice = Choice.from_json(content["chosen_on"]) if isinstance(content, dict) else Choice()
    changes = tuple(text if text == _FOLD else Plan.from_json(text) for text in texts)
    model = _changed(original, changes)
    model.load_state_dict(load_file(folder / WEIGHTS))
    if (folder / KERNELS).exists():
        model = Frozen(model.eval(), example, (folder / KERNELS).read_bytes())
    return Stage(mark(model.eval(), choice), changes)


@contextlib.contextmanager
def room(place: Path) -> Iterator[None]:
    """Say what to do where a disk is full; other errors pass.

    Parameters
    ----------
    place : Path
        What is written inside of the ``with``.

    Yields
    ------
    None

    Raises
    ------
    OSError
        In place of an error of Python, torch or safetensors that says that the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        known = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not known and not any(words in str(error) for words in FULL):
            raise
        raise OSError(
            f"{place} could not be written: {error}. The steps before it are kept: make room there and call again, "
            "and the run goes on."
        ) from error
