"""Checkpoints: weights as safetensors in ``data/checkpoints``, each with a card."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..core import cache_dir, data_dir, packed, save_atomically, sha256
from ..data import Preprocessing
from . import imagenet

#: What cards call lists of classes.
_CLASSES = {"imagenet-1k": imagenet.CLASSES}


def load_weights(model: nn.Module, name: str, seed: int = 0) -> nn.Module:
    """Give a model the weights of a shipped checkpoint, in place.

    Parameters
    ----------
    model : nn.Module
        Of the architecture that the checkpoint was made with.
    name : str
        Of the checkpoint; it need not be a key of ``MODELS``.
    seed : int

    Returns
    -------
    nn.Module
        ``model`` itself, in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint; the message names the seeds that there are.
    ValueError
        If the checkpoint differs from its card.
    RuntimeError
        From torch, if the model has other parameters.

    Examples
    --------
    >>> model = xp.zoo.load_weights(xp.zoo.lenet_300_100(), "lenet-300-100")
    >>> model.training
    False
    """
    expected, weights = card(name, seed)["sha256"], _path(name, seed)
    if (found := sha256(weights)) != expected:
        raise ValueError(f"{weights} is damaged: its SHA-256 is {found[:12]}..., its card says {expected[:12]}...")
    model.load_state_dict(load_file(weights))
    return model.eval()


def card(name: str, seed: int = 0) -> dict:
    """The card of a checkpoint: data, epochs, seed, versions, metric on the whole test set, sha256.

    Parameters
    ----------
    name : str
    seed : int

    Returns
    -------
    dict
        As the file has it.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint; the message names the seeds that there are.

    Examples
    --------
    >>> card = xp.zoo.card("mnist-autoencoder")
    >>> card["seed"], len(card["sha256"])
    (0, 64)
    """
    path = _path(name, seed).with_suffix(".json")
    if not path.exists():
        shipped = sorted(other.stem.rpartition("seed")[2] for other in path.parent.glob(f"{name}-seed*.json"))
        raise FileNotFoundError(
            f"no checkpoint of {name} with seed {seed} (there are seeds {', '.join(shipped) or 'none'})."
        )
    return json.loads(path.read_text())


def preprocessing(name: str, seed: int = 0) -> Preprocessing:
    """How a checkpoint's network wants its pictures, as its card says.

    Parameters
    ----------
    name : str
    seed : int

    Returns
    -------
    Preprocessing

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint.
    ValueError
        If its card names no preprocessing: such networks take pixels in [0, 1] as they are.

    Examples
    --------
    >>> prepare = xp.zoo.preprocessing("efficientnet-lite0")
    >>> inputs = prepare(torch.tensor([0, 127, 255], dtype=torch.uint8).expand(1, 3, 1, 3))
    >>> [round(value, 4) for value in inputs[0, 0, 0].tolist()]
    [-0.9922, 0.0, 1.0]
    """
    return Preprocessing(**_fact(name, seed, "preprocessing", "its network takes inputs as the data sets give them"))


def class_names(name: str, seed: int = 0) -> tuple[str, ...]:
    """Names of a checkpoint's classes, in the order of its outputs.

    Parameters
    ----------
    name : str
    seed : int

    Returns
    -------
    tuple of str

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint.
    ValueError
        If its card names no classes.

    Examples
    --------
    >>> names = xp.zoo.class_names("efficientnet-lite0")
    >>> len(names), names[291]
    (1000, 'lion')
    """
    return _CLASSES[_fact(name, seed, "classes", "the names of the course's classes are in xp.data")]


def save_weights(
    model: nn.Module, name: str, seed: int = 0, *, dtype: torch.dtype = torch.float32, out: Path | None = None
) -> Path:
    """Write a model's weights, and give the model what was written.

    Parameters
    ----------
    model : nn.Module
        Ends with the weights as they were rounded.
    name : str
    seed : int
    dtype : torch.dtype
        Of the numbers in the file.
    out : Path, optional
        As for :func:`train`.

    Returns
    -------
    Path
        Of the file, for :func:`save_card`.
    """
    weights = _path(name, seed, out)
    state = {name: _stored(tensor, dtype) for name, tensor in model.state_dict().items()}
    save_atomically(weights, lambda path: save_file(state, path))
    model.load_state_dict(state)
    return weights


def save_card(model: nn.Module, weights: Path, facts: dict) -> dict:
    """Write the card that goes with weights: the facts, and what is the same for all checkpoints.

    Parameters
    ----------
    model : nn.Module
    weights : Path
        From :func:`save_weights`.
    facts : dict
        How the model was made and what was measured.

    Returns
    -------
    dict
        The card.
    """
    result = facts | {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {"torch": torch.__version__.partition("+")[0], "python": platform.python_version()},
        "licence": "MIT",
        "sha256": sha256(weights),
    }
    weights.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def _fact(name: str, seed: int, fact: str, instead: str):
    if fact not in (found := card(name, seed)):
        raise ValueError(f"name: the card of {name} has no {fact}; {instead}.")
    return found[fact]


def _stored(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    plain = packed(tensor)
    return plain.to(dtype) if plain.is_floating_point() else plain


def _path(name: str, seed: int, folder: Path | None = None) -> Path:
    if folder is None:
        base = data_dir() if data_dir().exists() else cache_dir()
        folder = base / "checkpoints"
    return folder / f"{name}-seed{seed}.safetensors"
