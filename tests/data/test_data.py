"""The data sets: whole, checked, split once."""

from __future__ import annotations

import gzip
import hashlib
import shutil

import numpy as np
import pytest
import torch

from xaiprune.core import files
from xaiprune.data import splits

CLASSES = {"mnist": splits.MNIST_CLASSES, "fashion_mnist": splits.FASHION_MNIST_CLASSES}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("split", splits.SPLITS)
def test_a_split_has_its_size_range_and_classes(name, split):
    images, labels = getattr(splits, name)(split)
    assert images.shape == (splits.SPLIT_SIZES[split], 1, 28, 28)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert (images.min(), images.max()) == (0, 1)
    assert set(labels.tolist()) == set(range(len(CLASSES[name])))


def test_splits_do_not_overlap_and_cover_the_training_file():
    rows = [splits._rows(split) for split in ("train", "validation", "calibration")]
    assert sorted(np.concatenate(rows)) == list(range(60_000))


def test_splits_never_move():
    digest = hashlib.sha256(
        np.concatenate([splits._rows(s) for s in splits.SPLITS]).astype("<i8").tobytes()
    ).hexdigest()
    assert digest[:16] == "b3e4a9a79fcd25ba"


def test_limit_takes_the_first_images():
    assert torch.equal(splits.mnist("test", 7).inputs, splits.mnist("test").inputs[:7])


def test_the_first_of_a_split_are_images_and_their_labels():
    split = splits.mnist("test", 9)
    assert all(torch.equal(few, many[:4]) for few, many in zip(split.first(4), split))
    for count in (0, 10, 2.5, True):
        with pytest.raises(
            ValueError, match=rf"count must be a whole number from 1 to 9, the inputs of the split, got {count}"
        ):
            split.first(count)


def test_files_are_unpacked_once(monkeypatch):
    before = splits.mnist("validation")
    monkeypatch.setattr(splits.gzip, "decompress", lambda raw: pytest.fail("unpacked again"))
    assert all(torch.equal(a, b) for a, b in zip(before, splits.mnist("validation")))


@pytest.mark.parametrize("split", ["Train", "", None, 0])
def test_an_unknown_split_is_named(split):
    with pytest.raises(ValueError, match=r"split must be one of train, validation, calibration, test, got"):
        splits.mnist(split)


@pytest.mark.parametrize("limit", [0, -1, 10_001, 2.5, True])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(ValueError, match="limit must be a whole number from 1 to 10000"):
        splits.mnist("test", limit)


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A data folder and a cache of the test's own."""
    shutil.copytree(files.data_dir() / "MNIST", tmp_path / "data" / "MNIST")
    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data" / "MNIST"


def test_a_truncated_file_is_named(own_data):
    path = own_data / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
        splits.mnist("test")


def test_an_altered_file_is_named_even_after_it_was_unpacked_once(own_data):
    splits.mnist("test")
    path = own_data / "t10k-labels-idx1-ubyte.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[100] ^= 1
    path.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is damaged: unpacked, its SHA-256"):
        splits.mnist("test")


def test_a_damaged_cache_is_made_again(own_data, tmp_path):
    expected = splits.mnist("test").inputs
    for path in (tmp_path / "cache" / "unpacked").iterdir():
        path.write_bytes(b"nonsense")
    assert torch.equal(splits.mnist("test").inputs, expected)


def test_a_missing_file_is_named(own_data):
    (own_data / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte\.gz is missing.*git checkout"):
        splits.mnist("test")


def test_an_unwritable_cache_costs_only_time(own_data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path / "file"))
    assert len(splits.mnist("test", 5).inputs) == 5


def test_outside_a_checkout_torchvision_downloads_into_the_cache(own_data, tmp_path, monkeypatch):
    """The downloader is replaced, since tests have no network: it puts the files where torchvision would."""
    import torchvision

    calls = []

    def downloader(root, train, download):
        calls.append((root, train, download))
        (root / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
        for path in own_data.glob("*.gz"):
            shutil.copy(path, root / "MNIST" / "raw" / path.name)

    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(torchvision.datasets, "MNIST", downloader)
    assert len(splits.mnist("test", 5).inputs) == 5
    assert calls[0] == (tmp_path / "cache", False, True)


def test_checksums_and_licences_lie_beside_the_files():
    folder = files.data_dir()
    listed = {}
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        listed[name] = files.sha256(folder / name)
        assert listed[name] == digest, name
    found = {
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in (".gz", ".safetensors", ".onnx", ".png")
    }
    assert set(listed) == found | {"Objects/labels.json", "Objects/unlabelled.json"}
    assert "CC BY-SA 3.0" in (folder / "MNIST" / "LICENSE.txt").read_text()
    assert "Zalando" in (folder / "FashionMNIST" / "LICENSE.txt").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in (folder / "Objects" / "LICENSE.txt").read_text()
    assert "Attribution-ShareAlike 4.0" in " ".join((folder / "Words" / "LICENSE.txt").read_text().split())


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(0, 1, 28, 28), ValueError, "is empty"),
        (torch.full((2, 1, 28, 28), 255.0), ValueError, "divide them by 255"),
        (torch.full((2, 1, 28, 28), -0.5), ValueError, r"must lie in \[0, 1\]"),
        (torch.full((2, 1, 28, 28), float("nan")), ValueError, "must be finite, got values from nan"),
        (torch.zeros(1, 28, 28), ValueError, "add the batch axis"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), TypeError, "divide bytes by 255"),
        ([[0.0]], TypeError, "must be a float tensor"),
        (torch.zeros(2, 1, 32, 32), ValueError, r"image shape \(1, 28, 28\)"),
    ],
)
def test_bad_images_are_refused_with_the_reason(images, error, message):
    with pytest.raises(error, match=message):
        splits.check_images(images, shape=(1, 28, 28))


def test_the_whole_training_set_holds_every_original_image_once():
    whole = splits.mnist_whole("train")
    parts = [splits.mnist(split) for split in ("train", "validation", "calibration")]
    assert len(whole.inputs) == len(whole.targets) == sum(len(part.targets) for part in parts) == 60_000
    assert torch.equal(whole.targets[:54_000], parts[0].targets)
    assert torch.equal(whole.inputs[-1000:], parts[2].inputs)
    assert torch.equal(splits.mnist_whole("test", 3).inputs, splits.mnist("test", 3).inputs)
    assert torch.equal(splits.mnist_whole("train", 2).targets, parts[0].targets[:2])
