from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from clustnet.encoders import open_encoder
from clustnet.encoders.encoder import unit
from clustnet.errors import UserError
from tests.encoders import write_encoder
from training.methods.clustnet.representations import (
    _contrast,
    _whitening,
    coarse_error,
    edges,
    patches,
    reduced,
    represent,
)


@pytest.mark.parametrize(("shape", "channels"), [((30, 28, 28), 1), ((30, 32, 32, 3), 3)])
def test_a_seed_decides_the_representations(shape: tuple[int, ...], channels: int) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    first, again = represent(images, seed=1), represent(images, seed=1)
    cells = (shape[1] // 4 - 1) ** 2
    assert {name: rows.shape[1] for name, rows in first.items()} == {
        "pixels": channels * shape[1] * shape[2],
        "edges": cells * 4 * 9,
        "patches": 4 * 256,
    }
    for name, rows in first.items():
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, again[name])


def test_edges_vote_for_the_direction_of_their_gradient() -> None:
    """A step to the right has the direction 0 degrees; downwards, 90, which lies between the directions 80 and 100."""
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 1.0
    right = edges(step).reshape(9, 4).sum(axis=1)  # one block of 2x2 cells
    down = edges(step.transpose(2, 3)).reshape(9, 4).sum(axis=1)
    assert np.flatnonzero(right).tolist() == [0]
    assert np.flatnonzero(down).tolist() == [4, 5]
    assert down[4] == pytest.approx(down[5], rel=1e-5)


def test_edges_do_not_depend_on_brightness() -> None:
    planes = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(edges(planes + 0.3), edges(planes), atol=1e-4)


def test_patches_tell_in_which_quarter_a_texture_is() -> None:
    """Stripes in the top left quarter of half the images and in the bottom right quarter of the others."""
    planes = torch.rand(40, 1, 24, 24, generator=torch.Generator().manual_seed(0)) / 10
    planes[:20, :, :12:2, :12] += 0.8
    planes[20:, :, 12::2, 12:] += 0.8
    found = patches(planes, seed=0).reshape(40, -1, 2, 2)
    change = np.abs(found[:20].mean(axis=0) - found[20:].mean(axis=0)).sum(axis=0)
    assert change[0, 0] > 3 * change[0, 1]
    assert change[1, 1] > 3 * change[1, 0]


def test_contrast_and_whitening_as_plain_algebra_has_them() -> None:
    rows = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) @ torch.randn(6, 6).double().float()
    even = _contrast(rows)
    np.testing.assert_allclose(even.mean(dim=1), np.zeros(500), atol=1e-5)
    whiten, covariance = _whitening(rows), torch.from_numpy(np.cov(rows.numpy().T)).float()
    np.testing.assert_allclose(whiten @ (covariance + 0.1 * torch.eye(6)) @ whiten, np.eye(6), atol=1e-3)


def test_reduced_keeps_distances_in_fifty_components() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    few = reduced(rows, seed=0)
    np.testing.assert_allclose(np.linalg.norm(few[0] - few[1]), np.linalg.norm(rows[0] - rows[1]), rtol=1e-4)
    assert reduced(np.repeat(rows, 20, axis=1), seed=0).shape == (200, 50)


@pytest.mark.parametrize("counts", [(70, 50), (60, 40, 20)])
def test_coarse_error_is_that_of_a_vote(counts: tuple[int, ...]) -> None:
    generator, images = np.random.default_rng(0), sum(counts)
    coarse = np.repeat(np.arange(len(counts)), counts)
    rows = (generator.normal(size=(images, 2)) + coarse[:, None]).astype(np.float32)
    wrong = np.empty(images, bool)
    for image in range(images):
        others = np.arange(images) != image
        # scikit-learn, too, gives a tie to the smallest label.
        wrong[image] = (
            KNeighborsClassifier(10).fit(rows[others], coarse[others]).predict(rows[[image]]) != coarse[image]
        )
    expected = np.mean([(wrong[coarse == label].sum() + 1) / (count + 2) for label, count in enumerate(counts)])
    assert coarse_error(rows, coarse, seed=0) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 11, 3)])
def test_the_smallest_images_are_represented(shape: tuple[int, ...]) -> None:
    found = represent(torch.randint(0, 256, shape, dtype=torch.uint8), seed=0)
    assert all(np.isfinite(rows).all() for rows in found.values())


@pytest.mark.parametrize("shape", [(4, 7, 28), (4, 28, 5, 3)])
def test_images_too_small_are_refused(shape: tuple[int, ...]) -> None:
    sides = f"{shape[1]}x{shape[2]}"
    with pytest.raises(UserError, match=rf"have {sides} pixels, .* sides of 8 or more; .* partition.epochs to 0"):
        represent(torch.zeros(shape, dtype=torch.uint8), seed=0)


def test_large_images_are_compared_at_64_pixels() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 128, 256, 3), dtype=np.uint8))
    found = represent(images, seed=0)["pixels"].reshape(3, 3, 32, 64)
    wanted = images.float().reshape(3, 32, 4, 64, 4, 3).mean(dim=(2, 4)).permute(0, 3, 1, 2) / 255
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("shape", [(70, 20, 28), (3, 8, 8, 3)])
def test_an_encoder_reads_resized_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_encoder(tmp_path / "tiny")
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    found = represent(images, 0, ("edges", str(tmp_path / "tiny")))
    assert list(found) == ["edges", str(tmp_path / "tiny")]
    encoder = open_encoder(tmp_path / "tiny")
    side = encoder.input.shape[0]
    # An image is resized by its shorter side and cropped to a square.
    scale = side / min(shape[1:3])
    sizes = round(shape[2] * scale), round(shape[1] * scale)
    resized = Image.fromarray(images[1].numpy()).convert("RGB").resize(sizes, Image.Resampling.BILINEAR)
    expected = unit(encoder.embed(np.asarray(resized)[None, :side, (sizes[0] - side) // 2 :][:, :, :side]))
    np.testing.assert_allclose(found[str(tmp_path / "tiny")][1], expected[0], atol=0.05)
