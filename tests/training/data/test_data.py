import dataclasses

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from clustnet.datasets import LabelledImages, load
from clustnet.errors import UserError
from tests.training.tiny import coarse, noise, same_state, tiny_recipe
from training.data.data import CoarseData, hide_fine_labels, hold_out, load_split
from training.methods.clustnet.method import ClustNet
from training.runs.loop import show_progress


def test_mnist_through_torchvision_is_what_the_files_hold() -> None:
    for split, count in (("train", 60_000), ("test", 10_000)):
        plain = load(f"mnist:{split}")
        loaded = load_split(tiny_recipe({"data.train_images": None, "data.test_images": None}).data, split)
        assert len(loaded) == count
        np.testing.assert_array_equal(loaded.images, plain.images)
        np.testing.assert_array_equal(loaded.labels, plain.labels)
        assert (loaded.classes, loaded.mean, loaded.std) == (plain.classes, plain.mean, plain.std)


def test_a_split_is_cut_to_the_recipes_first_images() -> None:
    data = tiny_recipe({"data.train_images": 30, "data.test_images": 20}).data
    assert [len(load_split(data, split)) for split in ("train", "test")] == [30, 20]


def test_hidden_labels_are_only_coarse(mnist_train: LabelledImages) -> None:
    data = hide_fine_labels(mnist_train, tiny_recipe().data)
    assert {field.name for field in dataclasses.fields(data)} == {"images", "targets", "mean", "std"}
    np.testing.assert_array_equal(data.targets.numpy(), (mnist_train.labels >= 5).astype(np.float32))
    np.testing.assert_array_equal(data.images.numpy(), mnist_train.images)


def test_the_second_group_is_the_positive_one(mnist_train: LabelledImages) -> None:
    data = tiny_recipe({"data.coarse": {"odd": [1, 3, 5, 7, 9], "even": [0, 2, 4, 6, 8]}}).data
    targets = hide_fine_labels(mnist_train, data).targets.numpy()
    np.testing.assert_array_equal(targets, (mnist_train.labels % 2 == 0).astype(np.float32))


def test_training_sees_nothing_of_fine_labels_shuffled_inside_their_group(mnist_train: LabelledImages) -> None:
    labels, generator = mnist_train.labels.copy(), np.random.default_rng(0)
    for group in (labels < 5, labels >= 5):
        labels[group] = generator.permutation(labels[group])
    assert (labels != mnist_train.labels).mean() > 0.5
    keys = {"optimisation.epochs": 1, "pretraining.epochs": 1, "routing": "hard"}
    discovery = {"partition.epochs": 1, "partition.images": 60, "loss.mutual_information": 1.0}
    recipe, states = tiny_recipe(keys | discovery), []
    for version in (mnist_train, dataclasses.replace(mnist_train, labels=labels)):
        method = ClustNet(hide_fine_labels(version, recipe.data), recipe, Accelerator())
        list(method.run(0, show_progress))
        states.append(method.state())
    assert same_state(*states)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**31))
def test_batches_cover_each_image_once(images: int, size: int, seed: int) -> None:
    pixels = torch.arange(images, dtype=torch.uint8).view(-1, 1, 1)
    data = CoarseData(pixels, torch.arange(images).float(), (0.5,), (0.25,))
    batches = data.batches(size, torch.Generator().manual_seed(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(images))
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size + 1
    assert len(batches) == 1 or size == 1 or min(map(len, batches)) > 1  # batch normalisation needs two


def test_batches_among_some_images_hold_those_alone() -> None:
    data = CoarseData(noise(10, (2, 2)), torch.zeros(10), (0.5,), (0.25,))
    batches = data.batches(2, torch.Generator().manual_seed(0), np.array([1, 4, 7]))
    assert sorted(torch.cat(batches).tolist()) == [1, 4, 7]


def test_the_generator_decides_the_order() -> None:
    data = CoarseData(noise(100, (2, 2)), torch.arange(100).float(), (0.5,), (0.25,))
    orders = [data.batches(100, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_held_out_images_are_the_last(mnist_train: LabelledImages) -> None:
    data = coarse(mnist_train, 30)
    seen, validation = hold_out(data, 10)
    assert torch.equal(torch.cat([seen.images, validation.images]), data.images)
    assert torch.equal(torch.cat([seen.targets, validation.targets]), data.targets)
    assert len(validation.images) == 10
    assert hold_out(data, 0) == (data, data)


def test_something_must_be_left_to_train_on(mnist_train: LabelledImages) -> None:
    with pytest.raises(UserError, match=r"^data.validation_images is 30, but there are 30 training images; hold out"):
        hold_out(coarse(mnist_train, 30), 30)


def test_sorted_data_cannot_be_held_out_from_the_end(mnist_train: LabelledImages) -> None:
    data = coarse(mnist_train, 30)
    ordered = dataclasses.replace(data, targets=data.targets.sort().values)
    with pytest.raises(UserError, match="are all of one coarse group, as the data are sorted by class"):
        hold_out(ordered, 5)
