"""Composites: the protocol that they keep, drawn from a seed, and what is said of them is true."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from xaiprune import data
from xaiprune.core import data_dir
from xaiprune.data import GROUNDS, Cutout, Ground, Scenes, cutouts, objects, scenes, two_objects

ROWS = json.loads((data_dir() / "Objects" / "labels.json").read_text())


def square(name: str = "square", classes=(5,), **options) -> Cutout:
    return Cutout(name, np.full((20, 20, 3), 200, np.uint8), np.ones((20, 20), bool), classes, **options)


def connected() -> list[set[int]]:
    """Groups of things that share a class, by walking from thing to thing."""
    left, found = set(range(len(ROWS))), []
    while left:
        group, waiting = set(), [min(left)]
        while waiting:
            one = waiting.pop()
            if one not in group:
                group.add(one)
                waiting += [other for other in left if set(ROWS[one]["classes"]) & set(ROWS[other]["classes"])]
        found.append(group)
        left -= group
    return found


def test_118_labelled_things_are_in_87_groups_that_share_no_class():
    things, groups = cutouts.labelled(), connected()
    assert [thing.classes for thing in things] == [tuple(row["classes"]) for row in ROWS]
    assert (len(things), len(groups), len(cutouts.unlabelled())) == (118, 87, 176)
    named = {frozenset(place for place, thing in enumerate(things) if thing.group == one.group) for one in things}
    assert named == {frozenset(group) for group in groups}
    names = [thing.name for thing in (*things, *cutouts.unlabelled())]
    assert len(set(names)) == len(names)


def test_five_folds_test_every_thing_once_and_tune_on_none_of_its_kind():
    tested = []
    for fold in range(5):
        parts = {split: scenes(split, fold=fold, each=1).cutouts for split in ("train", "validation", "test")}
        assert sum(map(len, parts.values())) == 118
        for one, other in itertools.combinations(parts.values(), 2):
            assert not {label for thing in one for label in thing.classes} & {
                label for thing in other for label in thing.classes
            }
        assert 20 <= len(parts["test"]) <= 27
        tested += [thing.name for thing in parts["test"]]
        after = scenes("test", fold=(fold + 1) % 5, each=1).cutouts
        assert [thing.name for thing in parts["validation"]] == [thing.name for thing in after]
    assert sorted(tested) == sorted(thing.name for thing in cutouts.labelled())


def test_two_grounds_are_kept_for_the_test_split():
    kept = {name for name, row in GROUNDS.items() if row.kept}
    assert len(kept) == 2
    for split in ("train", "validation", "unlabelled"):
        assert not kept & {ground.name for ground in scenes(split).grounds}
        with pytest.raises(ValueError, match=f"grounds: grass is kept for the test split; for {split} there are brick"):
            objects(split, 1, grounds=["brick", "grass"])
    assert kept == {ground.name for ground in scenes("test").grounds}
    assert set(GROUNDS) == {ground.name for ground in scenes("all").grounds}
    assert objects("test", 2, grounds=["white"]).grounds == ("white", "white")


def test_sizes_and_places_are_drawn_over_their_range():
    made = objects("all", each=2, grounds=["white"], seed=4)
    rows, columns = made.masks.any(2), made.masks.any(1)
    longest = torch.maximum(rows.sum(1), columns.sum(1)) / 224
    assert 0.39 <= longest.min() < 0.45
    assert 0.85 < longest.max() <= 0.91
    left, right = columns.float().argmax(1), 224 - columns.flip(1).float().argmax(1)
    free = 224 - (right - left)
    places = (left / free)[free > 20]
    assert places.std().item() == pytest.approx(12**-0.5, abs=0.05)
    for size in (0.6, (0.6, 0.6)):
        masks = objects("all", 40, size=size).masks
        longest = torch.maximum(masks.any(2).sum(1), masks.any(1).sum(1))
        off = (longest - round(0.6 * 224)).abs()
        assert (off <= 1).float().mean() > 0.9  # thin ends may fall below one half
        assert off.max() <= 8


def test_half_of_the_pictures_are_mirrored():
    wedge = Cutout("wedge", np.full((40, 40, 3), 9, np.uint8), np.tri(40, dtype=bool), [0])
    masks = Scenes([wedge], "white", each=60, size=0.5).make().masks
    heavy_left = [mask[:, mask.any(0)] for mask in masks]
    mirrored = sum(bool(mask[:, -1].sum() > mask[:, 0].sum()) for mask in heavy_left)
    assert 18 <= mirrored <= 42


def test_the_mask_is_where_the_thing_is():
    """On two plain grounds a pixel of the thing stays what it is, and one of the ground changes."""
    white, grey = (objects("all", 30, grounds=[ground], seed=2) for ground in ("white", "grey"))
    assert torch.equal(white.masks, grey.masks)
    moved = (white.inputs - grey.inputs).abs().amax(1)
    full = 127 / 255
    assert (moved[white.masks] <= full / 2 + 0.01).all()
    assert (moved[~white.masks] >= full / 2 - 0.01).all()
    assert (moved[white.masks] == 0).float().mean() > 0.9


def test_a_composite_is_the_picture_on_its_ground():
    """Against Pillow's own way to put a picture on another one."""
    ground = np.random.RandomState(0).randint(0, 256, (224, 224, 3)).astype(np.uint8)
    own = Ground("noise", lambda random: ground)
    thing = next(one for one in cutouts.labelled() if max(one.mask.shape) == 224)
    made = Scenes([thing], own, each=2, size=1.0).make()
    image = Image.fromarray(np.dstack([thing.pixels, thing.mask]))
    for picture in made.inputs:
        errors = []
        for flipped in (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
            for down, across in itertools.product(range(225 - image.height), range(225 - image.width)):
                expected = Image.fromarray(ground)
                expected.paste(flipped, (across, down), flipped)
                errors.append(np.abs(np.asarray(expected) / 255 - picture.permute(1, 2, 0).numpy()).max())
        assert min(errors) <= 2.01 / 255


def test_colours_outside_of_the_mask_leave_no_rim():
    """What is hidden may have any colour: here green under a transparent border."""
    pixels, mask = np.zeros((60, 60, 3), np.uint8), np.zeros((60, 60), bool)
    pixels[:, :, 1] = 255
    pixels[10:50, 10:50] = (255, 0, 0)
    mask[10:50, 10:50] = True
    mask[10, 5] = True  # so that some of the border lies inside of the thing's box
    pixels[10, 5] = (255, 0, 0)
    made = Scenes([Cutout("red", pixels, mask, [0])], "white", each=10).make()
    assert (made.inputs[:, 1] <= made.inputs[:, 2] + 0.01).all()  # never greener than blue


def test_the_seed_and_the_name_decide_and_nothing_else_does():
    some = objects("test", 6, seed=3)
    assert torch.equal(objects("test", 6, seed=3).inputs, some.inputs)
    assert not torch.equal(objects("test", 6, seed=4).masks, some.masks)
    assert torch.equal(objects("test", 6, seed=3, grounds=["white"]).masks, some.masks)
    whole = objects("test", seed=3, each=2)
    assert torch.equal(whole.first(6).inputs, some.inputs)
    alone = Scenes(scenes("test").cutouts[:1], "white", each=1, seed=3).make()
    place = objects("test", 24, seed=3, grounds="white").objects.index(alone.objects[0])
    assert torch.equal(objects("test", 24, seed=3, grounds="white").masks[place], alone.masks[0])
    assert len({bytes(mask.numpy()) for mask in objects("all", each=3, size=0.6).masks}) == 3 * 118


def test_composites_never_change():
    """What RandomState gives is frozen. Places are looked at, since other versions of Pillow may round otherwise."""
    made = objects("all", 8, seed=0, grounds=["brick", "white"])
    assert made.objects[:3] == ("vehicles-flight-balloon360", "food-vegetables-broccoli", "animals-mammals-pig_golden2")
    centres = [tuple(round(at.float().mean().item()) for at in mask.nonzero(as_tuple=True)) for mask in made.masks[:3]]
    assert centres == [(79, 154), (121, 98), (190, 103)]


def test_each_thing_stands_on_its_grounds_in_turn():
    made = objects("validation", each=12)
    for name in set(made.objects):
        mine = [ground for other, ground in zip(made.objects, made.grounds) if other == name]
        assert {mine.count(ground) for ground in set(made.grounds)} == {2}


def test_photographs_are_not_to_be_shown():
    made = objects("validation", each=2)
    assert {"china", "flower"} < set(made.grounds)
    assert made.shown.tolist() == [ground not in ("china", "flower") for ground in made.grounds]
    assert {name for name, row in GROUNDS.items() if not row.shown} == {"china", "flower"}


def test_they_pass_through_the_door_as_any_split_does():
    made = objects("test", 7)
    assert data.as_split(made) is made
    inputs, targets = data.as_split(made, 3)
    assert torch.equal(inputs, made.inputs[:3])
    assert targets.tolist() == [classes[0] for classes in made.labels[:3]]
    assert [len(inputs) for inputs, _ in data.batches(made, 3)] == [3, 3, 1]
    lazy = scenes("test", each=1)
    first = next(iter(data.batches(lazy, 5)))
    assert torch.equal(first[0], made.inputs[:5])
    assert torch.equal(first[1], made.targets[:5])
    assert torch.equal(data.as_split(scenes("unlabelled", each=1), 2).inputs, objects("unlabelled", 2).inputs)
    assert torch.equal(lazy[-1][0], lazy[23][0])
    assert data.batches(lazy).fingerprint() == data.batches(scenes("test", each=1)).fingerprint()
    assert data.batches(lazy).fingerprint() != data.batches(scenes("test", each=1, seed=1)).fingerprint()
    parts = list(lazy.batches(10))
    assert [len(part.inputs) for part in parts] == [10, 10, 4]
    assert torch.equal(torch.cat([part.masks for part in parts]), lazy.make().masks)
    with pytest.raises(IndexError):
        lazy[24]


def test_they_are_values():
    made = objects("test", 4)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), copy.copy(made)):
        assert type(other) is data.Composites
        assert other.labels == made.labels
        assert torch.equal(other.masks, made.masks)
    with pytest.raises(AttributeError, match="composites cannot be changed"):
        made.masks = None
    some = made.rows(torch.tensor([False, True, False, True]))
    assert some.objects == (made.objects[1], made.objects[3])
    assert torch.equal(some.groups, made.groups[[1, 3]])
    assert "4 of 4 things" in repr(made)


def test_an_answer_is_right_if_any_label_names_it():
    made = objects("all", 118, each=1)
    row = next(place for place, classes in enumerate(made.labels) if len(classes) > 1)
    one = made.rows([row])
    for label in one.labels[0]:
        assert one.right(torch.tensor([label])).item()
    wrong = next(label for label in range(1000) if label not in one.labels[0])
    assert not one.right(torch.tensor([wrong])).item()
    logits = torch.zeros(1, 1000)
    logits[0, wrong], logits[0, one.labels[0][1]] = 2, 1
    assert not one.right(logits).item()
    assert one.right(logits, top=2).item()
    with pytest.raises(ValueError, match=r"labels name class \d+, and the network has 10 classes"):
        made.right(torch.rand(118, 10))
    with pytest.raises(ValueError, match=r"answers must be \(118, classes\) or \(118,\), got \(3, 1000\)"):
        made.right(torch.rand(3, 1000))
    with pytest.raises(ValueError, match="things without labels"):
        objects("unlabelled", 2).right(torch.tensor([1, 2]))


def test_two_things_stand_side_by_side_and_are_of_different_groups():
    one, other = two_objects("all", each=1, grounds=["brick", "white"])
    assert len(one.inputs) == 118
    assert one.inputs is other.inputs
    assert not (one.masks & other.masks).any()
    assert one.masks.any((1, 2)).all()
    assert other.masks.any((1, 2)).all()
    assert not any(set(mine) & set(theirs) for mine, theirs in zip(one.labels, other.labels))
    assert (one.groups != other.groups).all()
    left = [one.masks[row].any(0).float().argmax() < other.masks[row].any(0).float().argmax() for row in range(118)]
    assert 40 <= sum(left) <= 78
    assert len(set(other.objects)) > 60
    white, grey = (two_objects("all", 10, grounds=[ground]) for ground in ("white", "grey"))
    moved = (white[0].inputs - grey[0].inputs).abs().amax(1) > 0.25
    assert torch.equal(moved, ~(white[0].masks | white[1].masks))
    assert white[1].objects == grey[1].objects
    with pytest.raises(ValueError, match=r"size must be at most 0\.5, .* got 0\.6"):
        two_objects("all", 1, size=0.6)
    with pytest.raises(ValueError, match="cutouts must be of two groups or more"):
        Scenes([square()], "white", size=0.5).make_two()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: objects("tests"), ValueError, r"split must be one of train, .* got 'tests'; did you mean 'test'\?"),
        (lambda: objects("test", fold=5), ValueError, "fold must be a whole number from 0 to 4, one of 5 folds, got 5"),
        (lambda: objects("test", grounds=["gras"]), ValueError, "grounds must be one of .* did you mean 'grass'"),
        (lambda: objects("test", grounds=[]), ValueError, "grounds is empty: at least one is needed"),
        (lambda: objects("test", grounds=[3]), TypeError, "grounds must be the name of a ground or a ground itself"),
        (lambda: objects("test", size=60), ValueError, r"size must be parts of .* got 60 to 60; did you mean 0\.6\?"),
        (lambda: objects("test", size=(0.9, 0.4)), ValueError, r"got 0\.9 to 0\.4"),
        (lambda: objects("test", size="big"), TypeError, "size must be a number"),
        (lambda: objects("test", each=0), ValueError, "each must be a whole number of at least 1"),
        (lambda: objects("test", 1000), ValueError, "limit must be a whole number from 1 to 480, the composites"),
        (lambda: objects("test", seed=-1), ValueError, "seed must be a whole number from 0"),
        (lambda: objects("test", 2).first(3), ValueError, "count must be a whole number from 1 to 2"),
        (lambda: Scenes([], "white"), ValueError, "cutouts is empty: at least one thing is needed"),
        (
            lambda: Cutout("x", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool)),
            ValueError,
            "mask of 'x' has no pixel that belongs to the thing",
        ),
        (
            lambda: Cutout("x", np.zeros((4, 4, 3), np.uint8), np.ones((5, 4), bool)),
            ValueError,
            r"mask must have the size of the pixels of 'x', \(4, 4\), got \(5, 4\)",
        ),
        (lambda: Cutout("x", np.zeros((4, 4)), np.ones((4, 4), bool)), TypeError, "pixels must be bytes"),
        (lambda: Cutout("x", np.zeros((4, 4, 3), np.uint8), np.ones((4, 4))), TypeError, "mask must be truth values"),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_thing_of_which_no_pixel_is_left_is_named():
    line = Cutout("line", np.zeros((200, 200, 3), np.uint8), np.eye(200, dtype=bool))
    assert Scenes([line], "white", size=0.9).make().masks.any()
    with pytest.raises(ValueError, match=r"no pixel of 'line' is left at 20 pixels; choose a larger size"):
        Scenes([line], "white", size=0.09).make()


def test_masks_of_another_size_are_refused():
    made = objects("test", 2)
    facts = vars(made) | {"masks": made.masks[:, :100]}
    with pytest.raises(ValueError, match=r"masks must have shape \(2, 224, 224\), .* got \(2, 100, 224\)"):
        data.Composites(*made, **facts)
    with pytest.raises(ValueError, match="labels must have one entry for each of 2 inputs, got 1"):
        data.Composites(*made, **vars(made) | {"labels": made.labels[:1]})


def test_own_things_and_grounds_go_where_the_courses_go():
    checks = Ground("checks", lambda random: np.zeros((224, 224, 3), np.uint8))
    assert objects("train", 2, grounds=["white", checks]).grounds.count("checks") == 1
    made = Scenes([square("one"), square("two", ()), square("three", group=7)], ["white"], each=1).make()
    assert made.targets is None  # one of them has no label
    assert len(set(made.groups.tolist())) == 3
    assert 7 in made.groups
    assert made.shown.all()
    hidden = Ground("mine", checks.draw, shown=False)
    assert not objects("train", 2, grounds=hidden).shown.any()
    small = Ground("small", lambda random: np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"grounds: 'small' must draw bytes \(224, 224, 3\), got uint8 \(100, 100, 3\)"
    ):
        objects("train", 1, grounds=small)


def test_missing_and_damaged_pictures_are_named(tmp_path, monkeypatch):
    shutil.copytree(data_dir() / "Objects", tmp_path / "Objects")
    shutil.copy(data_dir() / "SHA256SUMS", tmp_path)
    monkeypatch.setenv("XAIPRUNE_DATA", str(tmp_path))
    path = tmp_path / "Objects" / ROWS[5]["file"]
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=rf"{path.name} is damaged: its SHA-256 is"):
        cutouts.labelled.__wrapped__()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{path.name} is missing: the pictures are in the repository"):
        cutouts.labelled.__wrapped__()
