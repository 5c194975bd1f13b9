"""What a recipe leaves on disk after each step, so that an interrupted run goes on where it was."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..data import Split, packed, save_atomically
from ..prune import Plan
from ..runtimes import Frozen
from ..sweeps import digest
from .step import FOLD, Stage, Step, changed

#: What torch and safetensors say of a full disk, which is no OSError.
FULL = ("inline_container", "iostream error", "os error 27", "os error 28")
WEIGHTS, CHANGES, KERNELS, CARD = "weights.safetensors", "changes.json", "kernels.onnx", "card.json"


class Store:
    """A folder with a place for each beginning of a recipe: recipes that begin alike share it.

    Parameters
    ----------
    folder : Path or str
    original : nn.Module
    data : mapping of str to Split
    identity : mapping
        What else the stages depend on, as JSON can hold it.

    Attributes
    ----------
    hashes : dict of str to str
        SHA-256 of the weights and of each split, 12 hexadecimal digits.
    """

    def __init__(self, folder: Path | str, original: nn.Module, data: Mapping[str, Split], identity: Mapping):
        self.folder, self.original = Path(folder), original
        self.hashes = {"weights": digest(*original.state_dict().values())}
        self.hashes |= {name: digest(*split) for name, split in data.items()}
        self._root = json.dumps({"model": type(original).__name__, **self.hashes, **identity}, sort_keys=True)

    def place(self, steps: Sequence[Step]) -> Path:
        """The folder of the stage that steps lead to."""
        text = "\n".join([self._root, *map(repr, steps)])
        name = f"{len(steps)}-{type(steps[-1]).__name__.lower()}" if steps else "0-original"
        return self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def unfinished(self, steps: Sequence[Step]) -> Path:
        """Where the last of the steps keeps what it has while it trains."""
        return self.place(steps) / "unfinished.pt"

    def save(self, steps: Sequence[Step], stage: Stage) -> None:
        """Keep a stage; what makes it whole, the list of changes, comes last."""
        place = self.place(steps)
        with room(place):
            frozen = isinstance(stage.model, Frozen)
            model = stage.model.made_from if frozen else stage.model
            state = {name: packed(tensor) for name, tensor in model.state_dict().items()}
            save_atomically(place / WEIGHTS, lambda path: save_file(state, path))
            if frozen:
                save_atomically(place / KERNELS, lambda path: path.write_bytes(stage.model.content))
            texts = [change if change == FOLD else change.to_json() for change in stage.changes]
            save_atomically(place / CHANGES, lambda path: path.write_text(json.dumps(texts)))

    def load(self, steps: Sequence[Step], example: torch.Tensor) -> Stage | None:
        """The stage that steps lead to, if it was kept."""
        place = self.place(steps)
        if not (place / CHANGES).exists():
            return None
        texts = json.loads((place / CHANGES).read_text())
        changes = tuple(text if text == FOLD else Plan.from_json(text) for text in texts)
        model = changed(self.original, changes)
        model.load_state_dict(load_file(place / WEIGHTS))
        if (place / KERNELS).exists():
            return Stage(Frozen(model.eval(), example, (place / KERNELS).read_bytes()), changes)
        return Stage(model.eval(), changes)

    def save_card(self, steps: Sequence[Step], content: dict) -> None:
        """Keep what was measured of a stage."""
        place = self.place(steps)
        with room(place):
            save_atomically(place / CARD, lambda path: path.write_text(json.dumps(content, indent=1)))

    def load_card(self, steps: Sequence[Step]) -> dict | None:
        """What was measured of a stage, if it was."""
        path = self.place(steps) / CARD
        return json.loads(path.read_text()) if path.exists() else None


@contextlib.contextmanager
def room(place: Path) -> Iterator[None]:
    """Say what to do where a disk is full; other errors pass."""
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
