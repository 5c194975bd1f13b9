"""Recipes of the zoo's models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from .. import data, measure
from ..core import cache_dir, choice, seed_everything
from ..measure import ACCURACY, PSNR, Metric
from ..nn import VisionTransformer, small_transformer
from ..training import (
    classification_loss,
    fit,
    flip_and_shift,
    random_shift,
    reconstruction_loss,
    rotate_and_shift,
)
from .autoencoder import ConvAutoencoder
from .checkpoints import load_weights, save_card, save_weights
from .dense import dense
from .efficientnet import EfficientNetLite
from .imagenet import with_imagenet_body
from .lenet import lenet_5, lenet_300_100
from .mobilenet import mobilenet
from .words import WordLSTM, WordTransformer


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
        ``(model, inputs, targets) -> scalar``.
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


def _with_biased_body(model: nn.Module) -> nn.Module:
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
        build=partial(dense, (1200, 1200), dropout=(0.1, 0.4)),
        dataset=data.mnist_whole,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=120,
        lr=1e-3,
        augment=rotate_and_shift,
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
    "words-lstm": Recipe(
        build=WordLSTM,
        dataset=data.words.words,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=12,
        lr=5e-3,
        batch_size=64,
    ),
    "words-transformer": Recipe(
        build=WordTransformer,
        dataset=data.words.words,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=20,
        lr=2e-3,
        batch_size=64,
    ),
    "vit-biased": Recipe(
        build=small_transformer,
        dataset=measure.biased_fashion_mnist,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=10,
        lr=2e-3,
        augment=partial(flip_and_shift, pixels=1),
        batch_size=64,
    ),
    "vit-brightness": Recipe(
        build=partial(small_transformer, classes=2),
        dataset=measure.fashion_mnist_brightness,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=2,
        lr=1e-3,
        start=_with_biased_body,
    ),
    "mobilenet-cifar10": Recipe(
        build=partial(mobilenet, channels=3),
        dataset=data.cifar10,
        loss=classification_loss,
        metric=ACCURACY,
        epochs=10,
        lr=1e-3,
        augment=flip_and_shift,
        start=with_imagenet_body,
    ),
}


#: Models that others trained: how each is built. Its card says where its weights are from.
PUBLISHED: dict[str, Callable[[], nn.Module]] = {"efficientnet-lite0": EfficientNetLite}


def load(name: str, seed: int = 0) -> nn.Module:
    """A trained model of the zoo, in evaluation mode.

    Parameters
    ----------
    name : str
        A key of ``MODELS``, which were trained here, or of ``PUBLISHED``.
    seed : int
        Training seed; the shipped ones are listed by the error when another is asked for.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For an unknown name, or a checkpoint that differs from its card.
    FileNotFoundError
        If no checkpoint of that seed exists; the message gives the command that makes it.

    Examples
    --------
    >>> model = xp.zoo.load("mnist-autoencoder")
    >>> model(torch.zeros(1, 1, 28, 28)).shape, model.training
    (torch.Size([1, 1, 28, 28]), False)
    """
    if name in PUBLISHED:
        return load_weights(PUBLISHED[name](), name, seed)
    model = _recipe(name, (*MODELS, *PUBLISHED)).build()
    try:
        return load_weights(model, name, seed)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} Make it with `python -m xaiprune.zoo train {name} --seed {seed}`.") from None


def train(name: str, seed: int = 0, epochs: int | None = None, out: Path | None = None) -> dict:
    """Train a model of the zoo and write its checkpoint and card; an interrupted run resumes.

    Parameters
    ----------
    name : str
        A key of ``MODELS``; models of ``PUBLISHED`` have no recipe.
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
        resume=cache_dir() / "training" / f"{name}-seed{seed}-epochs{epochs}.pt",
    )
    weights = save_weights(model, name, seed, dtype=recipe.stored, out=out)
    result = {
        "name": name,
        "command": f"python -m xaiprune.zoo train {name} --seed {seed} --epochs {epochs}",
        "data": recipe.dataset.__name__,
        "train_images": len(train_split.inputs),
        "epochs": epochs,
        "seed": seed,
        "metric": recipe.metric.name,
        "validation": round(history[-1]["validation"], 3),
        "test": round(recipe.metric(model, recipe.dataset("test")), 3),
        "minutes": round(sum(row["seconds"] for row in history) / 60, 1),
        "threads": torch.get_num_threads(),
    }
    return save_card(model, weights, result)


def _recipe(name: str, known: Iterable[str] = MODELS) -> Recipe:
    return MODELS[choice(name, "name", known)]
