"""Recipes of the zoo's models, and the checkpoints that they left in ``data/checkpoints``."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .. import data, downloads, fairness
from ..augment import flip_and_shift
from ..metrics import ACCURACY, PSNR, Metric
from ..train import classification_loss, fit, random_shift, reconstruction_loss, seed_everything
from .autoencoder import ConvAutoencoder
from .dense import dense
from .imagenet import with_imagenet_body
from .lenet import lenet_5, lenet_300_100
from .mobilenet import mobilenet
from .vit import VisionTransformer, small_transformer


@dataclass(frozen=True)
class Recipe:
    """How a model of the zoo is made: everything but the seed.

    Attributes
    ----------
    build : callable
        Returns the untrained model.
    dataset : callable
        ``split -> Split``.
    loss : callable
        ``(model, images, labels) -> scalar``.
    metric : Metric
        Reported on the validation split after each epoch and once on the test split.
    epochs : int
    lr : float
    augment : callable, optional
        ``(images, generator) -> images``, for the training images.
    batch_size : int
    start : callable
        ``model -> model``: weights to start from, where these are not random.
    stored : torch.dtype
        Of the numbers in the checkpoint; half the bytes with ``torch.float16``.
    """

    build: Callable[[], nn.Module]
    dataset: Callable[[str], data.Split]
    loss: Callable
    metric: Metric
    epochs: int
    lr: float
    augment: Callable | None = None
    batch_size: int = 128
    start: Callable[[nn.Module], nn.Module] = lambda model: model
    stored: torch.dtype = torch.float32


def with_biased_body(model: nn.Module) -> nn.Module:
    """Give a small transformer the weights of "vit-biased", in place, but for the head: a start for training."""
    body = {name: tensor for name, tensor in load("vit-biased").state_dict().items() if not name.startswith("head")}
    model.load_state_dict(model.state_dict() | body)
    return model


MODELS: dict[str, Recipe] = {
    "mnist-autoencoder": Recipe(
        build=lambda: ConvAutoencoder(channels=(16, 32), hidden=256, latent=32),
        dataset=data.mnist,
        loss=reconstruction_loss,
        metric=PSNR,
        epochs=32,
        lr=2e-3,
    ),
    "lenet-300-100": Recipe(
        build=lenet_300_100,
        dataset=data.mnist,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=30,
        lr=2e-3,
        augment=random_shift,
    ),
    "mnist-1200-1200": Recipe(
        build=partial(dense, (1200, 1200), dropout=(0.2, 0.5)),
        dataset=data.mnist_whole,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=100,
        lr=1e-3,
        augment=partial(random_shift, pixels=2),
        batch_size=256,
        stored=torch.float16,
    ),
    "lenet-5": Recipe(
        build=lenet_5,
        dataset=data.mnist,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=12,
        lr=3e-3,
        augment=random_shift,
    ),
    "mobilenet-fashion-mnist": Recipe(
        build=mobilenet,
        dataset=data.fashion_mnist,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=20,
        lr=3e-3,
        augment=flip_and_shift,
    ),
    "vit-fashion-mnist": Recipe(
        build=VisionTransformer,
        dataset=data.fashion_mnist,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=28,
        lr=1e-3,
        augment=partial(flip_and_shift, pixels=1),
        batch_size=64,
    ),
    "vit-biased": Recipe(
        build=small_transformer,
        dataset=fairness.biased_fashion_mnist,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=10,
        lr=2e-3,
        augment=partial(flip_and_shift, pixels=1),
        batch_size=64,
    ),
    "vit-brightness": Recipe(
        build=partial(small_transformer, classes=2),
        dataset=fairness.fashion_mnist_brightness,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=2,
        lr=1e-3,
        start=with_biased_body,
    ),
    "mobilenet-cifar10": Recipe(
        build=partial(mobilenet, channels=3),
        dataset=downloads.cifar10,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=10,
        lr=1e-3,
        augment=flip_and_shift,
        start=with_imagenet_body,
    ),
}


def load(name: str, seed: int = 0) -> nn.Module:
    """A trained model of the zoo, in evaluation mode.

    Parameters
    ----------
    name : str
        A key of ``MODELS``.
    seed : int
        Training seed; the shipped ones are listed by the error when another is asked for.

    Raises
    ------
    ValueError
        For an unknown name, or a checkpoint that differs from its card.
    FileNotFoundError
        If no checkpoint of that seed exists; the message gives the command that makes it.
    """
    model = _recipe(name).build()
    weights = _path(name, seed)
    if not weights.exists():
        shipped = sorted(path.stem.rpartition("seed")[2] for path in weights.parent.glob(f"{name}-seed*.json"))
        raise FileNotFoundError(
            f"no checkpoint of {name} with seed {seed} (there are seeds {', '.join(shipped) or 'none'}). "
            f"Make it with `python -m xaiprune.zoo train {name} --seed {seed}`."
        )
    if (found := data.sha256(weights)) != (expected := card(name, seed)["sha256"]):
        raise ValueError(f"{weights} is damaged: its SHA-256 is {found[:12]}..., its card says {expected[:12]}...")
    model.load_state_dict(load_file(weights))
    return model.eval()


def card(name: str, seed: int = 0) -> dict:
    """The card of a checkpoint: data, epochs, seed, versions, metric on the whole test set, sha256."""
    _recipe(name)
    return json.loads(_path(name, seed).with_suffix(".json").read_text())


def train(name: str, seed: int = 0, epochs: int | None = None, out: Path | None = None) -> dict:
    """Train a model of the zoo and write its checkpoint and card; an interrupted run resumes.

    Parameters
    ----------
    name : str
        A key of ``MODELS``.
    seed : int
        Seeds the weights and the order of the batches.
    epochs : int, optional
        Instead of the recipe's.
    out : Path, optional
        Folder to write to; default ``data/checkpoints`` of the checkout, outside one the user's cache.

    Returns
    -------
    dict
        The card.
    """
    recipe = _recipe(name)
    epochs = recipe.epochs if epochs is None else epochs
    seed_everything(seed)
    model = recipe.start(recipe.build())
    train_split, validation = recipe.dataset("train"), recipe.dataset("validation")
    history = fit(
        model,
        train_split,
        recipe.loss,
        epochs=epochs,
        lr=recipe.lr,
        batch_size=recipe.batch_size,
        seed=seed,
        augment=recipe.augment,
        validate=lambda model: recipe.metric(model, validation),
        resume=data.cache_dir() / "training" / f"{name}-seed{seed}-epochs{epochs}.pt",
    )
    weights = _path(name, seed, out)
    state = {name: _stored(tensor, recipe.stored) for name, tensor in model.state_dict().items()}
    data.save_atomically(weights, lambda path: save_file(state, path))
    model.load_state_dict(state)  # what is measured below is what was stored
    result = {
        "name": name,
        "command": f"python -m xaiprune.zoo train {name} --seed {seed} --epochs {epochs}",
        "data": recipe.dataset.__name__,
        "train_images": len(train_split.images),
        "epochs": epochs,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "metric": recipe.metric.name,
        "validation": round(history[-1]["validation"], 3),
        "test": round(recipe.metric(model, recipe.dataset("test")), 3),
        "minutes": round(sum(row["seconds"] for row in history) / 60, 1),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__.partition("+")[0], "python": platform.python_version()},
        "licence": "MIT",
        "sha256": data.sha256(weights),
    }
    weights.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def _stored(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    packed = data.packed(tensor)
    return packed.to(dtype) if packed.is_floating_point() else packed


def _recipe(name: str) -> Recipe:
    if name not in MODELS:
        raise ValueError(f"name must be one of {', '.join(MODELS)}, got {name!r}.")
    return MODELS[name]


def _path(name: str, seed: int, folder: Path | None = None) -> Path:
    if folder is None:
        base = data.data_dir() if data.data_dir().exists() else data.cache_dir()
        folder = base / "checkpoints"
    return folder / f"{name}-seed{seed}.safetensors"
