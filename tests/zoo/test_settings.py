"""Data and weights that need a network, tested on small files in their own formats."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from xaiprune import data, explain, zoo
from xaiprune.zoo.imagenet import IMAGENETTE_ROWS, with_imagenet_body


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XAIPRUNE_CACHE", str(tmp_path))
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@pytest.fixture
def imagenet(monkeypatch):
    """torchvision's model with random weights, in the place of a download."""
    torch.manual_seed(0)
    model = mobilenet_v2().eval()
    monkeypatch.setattr(MobileNet_V2_Weights, "get_state_dict", lambda self, **_: model.state_dict())
    return model


def cifar_archive(folder, records: dict[str, np.ndarray]):
    path = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name, rows in records.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = rows.nbytes
            packed.addfile(info, io.BytesIO(rows.tobytes()))
    return path


def records(count: int, seed: int) -> np.ndarray:
    rows = np.random.RandomState(seed).randint(0, 256, (count, 3073)).astype(np.uint8)
    rows[:, 0] %= 10
    return rows


def test_cifar10_is_read_from_its_binary_records(cache):
    batches = {f"data_batch_{number}.bin": records(20, number) for number in range(1, 6)}
    test = records(15, 9)
    cifar_archive(cache, batches | {"test_batch.bin": test})
    found = data.cifar10("test")
    assert found.inputs.shape == (15, 3, 32, 32)
    assert found.targets.tolist() == test[:, 0].tolist()
    assert found.inputs[3, 2, 0, 1].item() == pytest.approx(test[3, 1 + 2 * 1024 + 1] / 255)
    parts = [data.cifar10(split) for split in ("train", "validation", "calibration")]
    assert [len(part.inputs) for part in parts] == [80, 10, 10]
    joined = torch.cat([part.inputs.flatten(1) for part in parts])
    everything = np.concatenate(list(batches.values()))[:, 1:].astype(np.float32) / 255
    assert sorted(map(tuple, joined.tolist())) == sorted(map(tuple, everything.tolist()))
    assert len(data.cifar10("train", limit=7).targets) == 7


def test_a_damaged_archive_is_named(cache):
    (cache / "cifar-10-binary.tar.gz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz is damaged"):
        data.cifar10("test")
    with pytest.raises(ValueError, match="split must be one of"):
        data.cifar10("valid")
    with pytest.raises(ValueError, match="limit must be a whole number of at least 1, got 0"):
        data.cifar10("test", limit=0)


def test_imagenette_is_read_from_its_folders(cache):
    from torchvision.datasets import Imagenette

    for part, count in (("train", 2), ("val", 1)):
        for place, name in enumerate(Imagenette._WNID_TO_CLASS):
            folder = cache / "imagenette2-160" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (180, 160), (20 * place, 0, 255)).save(folder / f"{number}.JPEG")
    test = data.imagenette("test", size=32)
    assert test.inputs.shape == (10, 3, 32, 32)
    assert sorted(test.targets.tolist()) == list(range(10))
    red = test.inputs[:, 0].mean((1, 2))
    assert torch.allclose(red, 20 * test.targets / 255, atol=0.03)
    assert sum(len(data.imagenette(split, size=32).targets) for split in ("train", "validation", "calibration")) == 20
    with pytest.raises(ValueError, match=r"size must be from 1 to 160, .* got 224"):
        data.imagenette("test", size=224)


def test_imagenette_takes_the_rows_of_its_classes(imagenet):
    categories = MobileNet_V2_Weights.IMAGENET1K_V2.meta["categories"]
    assert [categories[row] for row in IMAGENETTE_ROWS] == list(data.IMAGENETTE_CLASSES)
    model = zoo.setting("imagenette").model()
    images = torch.rand(2, 3, 64, 64)
    preset = MobileNet_V2_Weights.IMAGENET1K_V2.transforms()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    with torch.no_grad():
        expected = imagenet((images - mean) / std)[:, list(IMAGENETTE_ROWS)]
        assert torch.allclose(model(images), expected, atol=1e-5)
    assert explain.lrp(model, images).shape == (2, 64, 64)


def test_the_small_stem_takes_imagenets_body(imagenet):
    model = with_imagenet_body(zoo.mobilenet(channels=3))
    assert torch.equal(model.features[0][0].weight, imagenet.features[0][0].weight)
    assert torch.equal(model.features[18][0].weight, imagenet.features[18][0].weight)
    assert model.features[0][0].stride == (1, 1)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises((ValueError, RuntimeError)):
        with_imagenet_body(zoo.mobilenet(channels=1))


def test_cifar10_trains_from_imagenets_body(cache, imagenet, monkeypatch):
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    cifar_archive(cache, {name: records(50, place) for place, name in enumerate(names)})
    card = zoo.train("mobilenet-cifar10", epochs=1, out=cache)
    assert card["train_images"] == 200
    weights = cache / "mobilenet-cifar10-seed0.safetensors"
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_one_argument_switches_data_and_weights():
    for name, row in zoo.SETTINGS.items():
        assert zoo.setting(name) is row
        assert len(row.classes) == 10
        assert row.build()(torch.rand(2, 1 if name == "fashion-mnist" else 3, 32, 32)).shape == (2, 10)
    with pytest.raises(ValueError, match="name must be one of fashion-mnist, cifar10, imagenette, got 'mnist'"):
        zoo.setting("mnist")
