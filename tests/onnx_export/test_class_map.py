from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.errors import UserError
from onnx_export import class_map as room
from onnx_export.class_map import MIN_CELL_SHARE, subtypes_of_cells, subtypes_of_references
from tests.onnx_export.conftest import HARD
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.models.inference import Routed, route
from training.models.mixture import coarse_probability
from training.runs.run_folder import RunFolder

Run = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["soft", "hard", "colour", "clusters"])
def test_the_class_map_spreads_reference_counts(bundle: Any, run: Run, kind: str) -> None:
    manifest = bundle(kind)[1].manifest
    model, recipe = RunFolder(run(kind)).load_network(), RunFolder(run(kind)).recipe()
    train = load_split(recipe.data, "train")
    with torch.no_grad():
        output = model(torch.from_numpy(train.images.copy()))
    routing = output.log_routing.exp().double()
    weights = torch.eye(manifest.experts)[routing.argmax(dim=1)].double() if kind in HARD else routing
    mass = weights[:, :, None] * coarse_probability(output.expert_logit)
    drawn = manifest.class_map.reference_indices
    classes = torch.eye(len(manifest.subtypes)).double()[torch.from_numpy(train.fine[drawn])]
    expected = np.zeros((manifest.experts, len(manifest.coarse_labels), len(manifest.subtypes)))
    for label in range(len(manifest.coarse_labels)):
        shared = mass[:, :, label].T @ mass[:, :, label] + 1e-300 * torch.eye(manifest.experts).double()
        overlap = shared / shared.sum(dim=1, keepdim=True)
        counts = mass[drawn, :, label].T @ classes
        spread = 0.1 * torch.linalg.inv(torch.eye(manifest.experts).double() - 0.9 * overlap) @ counts
        spread += 0.02 / len(manifest.subtypes)
        expected[:, label] = counts + 3 * spread / spread.sum(dim=1, keepdim=True)
    expected /= expected.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(manifest.class_map.array(), expected, atol=1e-4)


def test_reference_images_are_drawn_from_each_class(bundle: Any) -> None:
    class_map = bundle("soft")[1].manifest.class_map
    train = load_split(tiny_recipe().data, "train")
    assert (class_map.data, class_map.kind) == ("mnist:train", "references")
    assert class_map.reference_images == len(set(class_map.reference_indices)) == 50
    assert np.bincount(train.fine[class_map.reference_indices]).tolist() == [5] * 10


def test_labels_of_other_images_never_enter(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, recipe = RunFolder(run("soft")).load_network(), RunFolder(run("soft")).recipe()
    train = load_split(recipe.data, "train")
    routed = route(model, train.images, False)
    plain = subtypes_of_references(model, False, recipe.reference, routed, train)
    drawn = np.array(plain.class_map.reference_indices)
    monkeypatch.setattr(room, "draw_reference", lambda *_: drawn)
    others = np.setdiff1d(np.arange(len(train)), drawn)
    fine = train.fine.copy()
    fine[others] = np.random.default_rng(0).permutation(fine[others])
    assert subtypes_of_references(model, False, recipe.reference, routed, replace(train, fine=fine)) == plain
    fine[drawn[0]] = (fine[drawn[0]] + 1) % 5 + fine[drawn[0]] // 5 * 5
    changed = subtypes_of_references(model, False, recipe.reference, routed, replace(train, fine=fine))
    assert changed.class_map.values != plain.class_map.values


def test_too_few_images_of_a_class_are_named(run: Run) -> None:
    model, recipe = RunFolder(run("soft")).load_network(), RunFolder(run("soft")).recipe()
    train = load_split(recipe.data, "train")
    few, routed = train.take(np.flatnonzero(train.fine != 7)), route(model, train.images, False)
    with pytest.raises(UserError, match=r"The class '7' has 0 training images, but reference.per_class requests 5"):
        subtypes_of_references(model, False, recipe.reference, routed, few)


def certain(cells: Sequence[tuple[int, int]], experts: int, labels: int) -> Routed:
    """Return predictions for images that are each in one cell (expert, coarse label) for certain."""
    routing = np.eye(experts, dtype=np.float32)[[expert for expert, _ in cells]]
    expert_probability = np.eye(labels, dtype=np.float32)[[[label] * experts for _, label in cells]]
    return Routed(routing, expert_probability, routing)


def images_of(coarse: Sequence[int], labels: Sequence[str]) -> LabelledImages:
    """Return images of one pixel with coarse labels alone."""
    count = len(coarse)
    pixels, unknown = np.zeros((count, 1, 1), np.uint8), np.full(count, UNKNOWN)
    return LabelledImages("folder", "train", pixels, np.array(coarse), tuple(labels), unknown, (), (0.5,), (0.5,))


def test_cells_in_use_are_numbered_by_size() -> None:
    cells = [(0, 0)] * 20 + [(2, 0)] * 80 + [(1, 1)] * 50 + [(1, 2)] * 30
    found = subtypes_of_cells(certain(cells, 3, 3), images_of([label for _, label in cells], "abc"))
    assert [subtype.name for subtype in found.subtypes] == ["a/1", "a/2", "b/1", "c/1"]
    assert [subtype.coarse_label for subtype in found.subtypes] == ["a", "a", "b", "c"]
    assert not any(subtype.named for subtype in found.subtypes)
    values = found.class_map.array()
    assert values[2, 0].tolist() == [1, 0, 0, 0]
    assert values[0, 0].tolist() == [0, 1, 0, 0]
    # A cell out of use stands for all subtypes of its coarse label.
    assert values[1, 0].tolist() == [0.5, 0.5, 0, 0]
    assert values[0, 2].tolist() == [0, 0, 0, 1]
    assert (found.class_map.kind, found.class_map.data, found.class_map.reference_images) == (
        "cells",
        "folder:train",
        0,
    )


@pytest.mark.parametrize(("images", "used"), [(1, False), (2, True)])
def test_one_percent_of_a_label_is_enough(images: int, used: bool) -> None:
    cells = [(0, 0)] * (200 - images) + [(1, 0)] * images
    found = subtypes_of_cells(certain(cells, 2, 1), images_of([0] * 200, ["all"]))
    assert [subtype.name for subtype in found.subtypes] == (["all/1", "all/2"] if used else ["all/1"])


def test_images_of_another_label_do_not_count() -> None:
    """Expert 1 takes images of label 0 for label 1."""
    cells = [(0, 0)] * 5 + [(1, 1)] * 5 + [(0, 1)] * 5
    found = subtypes_of_cells(certain(cells, 2, 2), images_of([0] * 10 + [1] * 5, "ab"))
    assert [subtype.name for subtype in found.subtypes] == ["a/1", "b/1"]
    assert found.class_map.array()[0, 1].tolist() == [0, 1]


def test_every_coarse_label_has_a_subtype() -> None:
    """No image is taken for label 1."""
    found = subtypes_of_cells(certain([(0, 0)] * 10, 2, 2), images_of([0] * 6 + [1] * 4, "ab"))
    assert [subtype.name for subtype in found.subtypes] == ["a/1", "b/1"]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_any_predictions_give_a_valid_map(experts: int, labels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    routing = generator.dirichlet(np.ones(experts), 40)
    routed = Routed(routing, generator.dirichlet(np.ones(labels), (40, experts)), routing)
    coarse = generator.integers(0, labels, 40)
    found = subtypes_of_cells(routed, images_of(coarse, [f"label {k}" for k in range(labels)]))
    membership = found.membership()
    assert membership.any(axis=1).all()
    assert (membership.sum(axis=0) == 1).all()
    values = found.class_map.array()
    assert values.shape == (experts, labels, len(found.subtypes))
    np.testing.assert_allclose(values.sum(axis=2), 1)
    assert not values[:, ~membership].any()
    assert MIN_CELL_SHARE * 40 < 1
