import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clustnet.datasets import LabelledImages, load
from clustnet.errors import UserError
from tests.training.tiny import coarse, noise, same_state, tiny_recipe
from training.data.data import CoarseData, hide_fine_labels, hold_out, load_reference, load_split
from training.methods.clustnet.method import ClustNetMethod
from training.recipe.recipe import Data
from training.runs.loop import EpochProgress

FOLDERS = ("test/cats", "test/dogs", "train/cats/a", "train/cats/b", "train/dogs", "reference/cats/tom")
FOLDERS += ("reference/cats/kitten", "reference/dogs/rex")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of colour photographs with all three splits, 3 in each of its folders."""
    root, generator = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        for number in range(3):
            pixels = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    return root


def known(images: int, labels: int = 2) -> CoarseData:
    """Return random images whose coarse labels take turns."""
    names = tuple(f"label {label}" for label in range(labels))
    return CoarseData(noise(images, (2, 2)), torch.arange(images) % labels, names, (0.5,), (0.25,))


def test_mnist_is_loaded_with_its_given_labels() -> None:
    for split, count in (("train", 60_000), ("test", 10_000)):
        plain, loaded = load(f"mnist:{split}"), load_split(Data(), split)  # type: ignore[call-overload]
        assert len(loaded) == count
        np.testing.assert_array_equal(loaded.images, plain.images)
        np.testing.assert_array_equal(loaded.fine, plain.fine)
        np.testing.assert_array_equal(loaded.coarse, plain.fine >= 5)
        assert loaded.coarse_labels == ("0-4", "5-9")


def test_a_split_is_cut_to_fewer_images() -> None:
    data = Data(train_images=30, test_images=20)
    test = load_split(data, "test")
    assert test is not None
    assert [len(load_split(data, "train")), len(test)] == [30, 20]
    whole = load("mnist:test")
    places = [int((whole.images == image).all(axis=(1, 2)).nonzero()[0][0]) for image in test.images]
    # One from each twentieth.
    assert [place // 500 for place in places] == list(range(20))
    with pytest.raises(UserError, match=r"^data.test_images is 10001, but mnist has 10000; lower it"):
        load_split(Data(test_images=10_001), "test")


def test_each_class_is_cut_to_its_count() -> None:
    counts = (5, 1, 2, 3, 4, 5, 1, 2, 3, 4)
    train = load_split(Data(train_counts=counts), "train")
    np.testing.assert_array_equal(np.bincount(train.fine), counts)
    np.testing.assert_array_equal(train.images[0], load("mnist:train").images[0])
    test = load_split(Data(train_counts=counts, test_images=20), "test")
    assert test is not None
    assert len(test) == 20


@pytest.mark.parametrize("counts", [(1, 2), (9000, *[1] * 9)])
def test_impossible_counts_are_named(counts: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^data\.train_counts is .*, but mnist has classes of 5923, 6742"):
        load_split(Data(train_counts=counts), "train")


def test_training_data_have_coarse_labels_alone(mnist_train: LabelledImages) -> None:
    data = hide_fine_labels(mnist_train)
    names = {"images", "coarse", "labels", "mean", "std", "views", "encoder_sha256"}
    assert {field.name for field in dataclasses.fields(data)} == names
    np.testing.assert_array_equal(data.coarse.numpy(), mnist_train.fine >= 5)
    np.testing.assert_array_equal(data.images.numpy(), mnist_train.images)
    assert (data.labels, data.label_count) == (("0-4", "5-9"), 2)


@pytest.mark.parametrize(
    ("groups", "labels"),
    [
        (None, ("all",)),
        ({"odd": [1, 3, 5, 7, 9], "even": [0, 2, 4, 6, 8]}, ("odd", "even")),
        ({"low": [0, 1, 2], "mid": ["3", "4", "5"], "high": [6, 7, 8, 9]}, ("low", "mid", "high")),
    ],
)
def test_the_recipe_groups_fine_classes(groups: dict[str, list[int | str]] | None, labels: tuple[str, ...]) -> None:
    train = load_split(Data(train_images=100, coarse=groups), "train")
    data, listed = hide_fine_labels(train), groups or {"all": list(range(10))}
    assert data.labels == labels
    expected = [next(i for i, group in enumerate(listed.values()) if {f, str(f)} & set(group)) for f in train.fine]
    assert data.coarse.tolist() == expected


def test_a_folder_keeps_colour_and_labels(photographs: Path) -> None:
    data = Data(name="folder", path=photographs, size=(8, 10))
    train, test = load_split(data, "train"), load_split(data, "test")
    assert test is not None
    assert (train.images.shape, test.images.shape) == ((9, 8, 10, 3), (6, 8, 10, 3))
    hidden = hide_fine_labels(train)
    assert hidden.labels == ("cats", "dogs")
    assert hidden.coarse.tolist() == [int("dogs" in file) for file in train.files or ()]
    reference = load_reference(data, train)
    assert reference is not None
    assert (reference.labelled, len(reference.classes), reference.coarse.tolist()) == (True, 3, [0] * 6 + [1] * 3)


def test_a_plain_folder_has_no_other_split(photographs: Path) -> None:
    data = Data(name="folder", path=photographs / "train", size=(8, 8), colour=False)
    train = load_split(data, "train")
    assert train.images.shape == (9, 8, 8)
    assert hide_fine_labels(train).labels == ("cats", "dogs")
    assert load_split(data, "test") is None
    assert load_reference(data, train) is None


def test_labelled_training_images_are_the_references(mnist_train: LabelledImages) -> None:
    assert load_reference(Data(), mnist_train) is mnist_train


def test_training_sees_nothing_of_fine_labels(mnist_train: LabelledImages) -> None:
    fine, generator = mnist_train.fine.copy(), np.random.default_rng(0)
    for group in (fine < 5, fine >= 5):
        fine[group] = generator.permutation(fine[group])
    assert (fine != mnist_train.fine).mean() > 0.5
    keys = {"optimisation.epochs": 1, "pretraining.epochs": 1, "routing": "hard"}
    discovery = {"partition.epochs": 1, "partition.images": 60, "loss.mutual_information": 1.0}
    recipe, states = tiny_recipe(keys | discovery), []
    for version in (mnist_train, dataclasses.replace(mnist_train, fine=fine)):
        method = ClustNetMethod(hide_fine_labels(version), recipe, Accelerator())
        list(method.run(0, EpochProgress(0, 9)))
        states.append(method.state())
    assert same_state(*states)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**31))
def test_batches_cover_each_image_once(images: int, size: int, seed: int) -> None:
    pixels = torch.arange(images, dtype=torch.uint8).view(-1, 1, 1)
    data = CoarseData(pixels, torch.zeros(images, dtype=torch.int64), ("all",), (0.5,), (0.25,))
    batches = data.batches(size, torch.Generator().manual_seed(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(images))
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size + 1
    assert len(batches) == 1 or size == 1 or min(map(len, batches)) > 1  # batch normalisation needs two


def test_batches_among_some_images_hold_those_alone() -> None:
    batches = known(10).batches(2, torch.Generator().manual_seed(0), np.array([1, 4, 7]))
    assert sorted(torch.cat(batches).tolist()) == [1, 4, 7]


def test_the_generator_decides_the_order() -> None:
    data = known(100)
    orders = [data.batches(100, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_held_out_images_are_the_last(labels: int) -> None:
    data = known(30, labels)
    seen, validation = hold_out(data, 10)
    assert torch.equal(torch.cat([seen.images, validation.images]), data.images)
    assert torch.equal(torch.cat([seen.coarse, validation.coarse]), data.coarse)
    assert len(validation.images) == 10
    assert seen.labels == validation.labels == data.labels
    assert hold_out(data, 0) == (data, data)


def test_something_must_be_left_to_train_on(mnist_train: LabelledImages) -> None:
    with pytest.raises(UserError, match=r"^data.validation_images is 30, but there are 30 training images; hold out"):
        hold_out(coarse(mnist_train, 30), 30)


@pytest.mark.parametrize(("labels", "images", "missing"), [(2, 5, 0), (3, 15, 0), (3, 25, 1)])
def test_both_parts_must_have_every_label(labels: int, images: int, missing: int) -> None:
    data = known(30, labels)
    ordered = dataclasses.replace(data, coarse=data.coarse.sort().values)
    with pytest.raises(UserError, match=rf"{images} training images or .* none of the coarse label 'label {missing}'"):
        hold_out(ordered, images)
