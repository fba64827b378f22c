import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis

from onnx_export.confidence import (
    MIN_VARIANCE_SHARE,
    SHRINKAGE,
    Confidence,
    fit_confidence,
    route_with_features,
    threshold,
)
from tests.training.tiny import noise, tiny_recipe
from training.models.inference import route
from training.models.mixture import MixtureOfExperts, coarse_probability


def slope_of(size: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(size, size))


def blobs(images: int, seed: int = 0, size: int = 6) -> tuple[torch.Tensor, np.ndarray]:
    """Return features in three blobs of one sloping shape, and the blob of each."""
    generator = np.random.default_rng(seed)
    cells = generator.integers(0, 3, images)
    slope = slope_of(size)
    features = 50 * np.eye(3, size)[cells] + generator.normal(size=(images, size)) @ slope
    return torch.from_numpy(features.astype(np.float32)), cells


@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_it_falls_with_distance_to_the_nearest_mean(size: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(size, size))
    covariance, means = root @ root.T + np.eye(size), generator.normal(size=(count, size))
    features = generator.normal(size=(4, size))
    found = Confidence(torch.from_numpy(means), torch.from_numpy(covariance))(torch.from_numpy(features).float())
    for image, confidence in zip(features, found.tolist(), strict=True):
        nearest = min(mahalanobis(image, mean, np.linalg.inv(covariance)) for mean in means)
        assert confidence == pytest.approx(1 / (1 + nearest**2 / size), rel=1e-3)


def test_the_fit_has_means_and_pooled_covariance() -> None:
    features, cells = blobs(300)
    fitted = fit_confidence(features, cells)
    plain = features.numpy().astype(float)
    means = np.stack([plain[cells == cell].mean(axis=0) for cell in range(3)])
    residuals = plain - means[cells]
    covariance = residuals.T @ residuals / 300
    covariance += max(SHRINKAGE * np.trace(covariance) / 6, MIN_VARIANCE_SHARE * (plain**2).mean()) * np.eye(6)
    expected = Confidence(torch.from_numpy(means), torch.from_numpy(covariance))
    torch.testing.assert_close(fitted(features), expected(features))


def test_typical_images_have_half_and_others_less() -> None:
    features, cells = blobs(3000)
    confidence = fit_confidence(features, cells)
    familiar, strange = confidence(blobs(500, seed=7)[0]), confidence(torch.full((1, 6), 500.0))
    covariance = slope_of(6).T @ slope_of(6)
    # It is a little wider, hence distances under 1.
    added = max(SHRINKAGE * np.trace(covariance) / 6, MIN_VARIANCE_SHARE * features.square().mean().item())
    shrunk = covariance + added * np.eye(6)
    assert (1 / familiar - 1).mean().item() == pytest.approx(np.trace(covariance @ np.linalg.inv(shrunk)) / 6, abs=0.05)
    assert 0 < strange.item() < 0.01
    assert confidence(confidence.means @ torch.linalg.inv(confidence.whitening)).tolist() == pytest.approx([1] * 3)


def test_narrow_cells_far_apart_survive_rounding() -> None:
    features, cells = blobs(60)
    narrow = 1e4 * torch.eye(3, 6)[cells] + features / 1e4
    rounded = torch.nextafter(narrow, torch.full_like(narrow, torch.inf))
    fitted = fit_confidence(narrow, cells)
    torch.testing.assert_close(fitted(rounded), fitted(narrow), rtol=0, atol=1e-6)


def test_a_cell_of_few_mistakes_is_left_out() -> None:
    features, cells = blobs(1000)
    strange = torch.full((3, 6), 500.0)
    fitted = fit_confidence(torch.cat([features, strange]), np.concatenate([cells, [9] * 3]))
    torch.testing.assert_close(fitted(features), fit_confidence(features, cells)(features))
    assert fitted(strange).max() < 0.05


def test_many_small_cells_are_all_kept() -> None:
    features, _ = blobs(200)
    assert len(fit_confidence(features, np.arange(200)).means) == 200


def test_features_that_never_vary_are_no_fault() -> None:
    fitted = fit_confidence(torch.ones(20, 4), np.zeros(20, np.int64))
    assert fitted(torch.ones(1, 4)).item() == pytest.approx(1)
    assert fitted(torch.zeros(1, 4)).item() < 1e-3


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50), st.floats(0, 1))
def test_a_threshold_leaves_the_share_under_it(values: list[float], share: float) -> None:
    confidence = np.array(values, np.float32)
    found = threshold(confidence, share)
    assert found == float(np.float32(found))
    assert (confidence < np.float32(found)).mean() <= share + 1 / len(values)
    assert (confidence <= np.nextafter(np.float32(found), np.float32(1))).mean() >= share - 1 / len(values)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("expert", "labels"), [("linear", 2), ("shared", 2), ("linear", 1), ("linear", 3)])
@torch.no_grad()
def test_features_are_embeddings_and_deciding_log_odds(expert: str, labels: int, hard: bool) -> None:
    torch.manual_seed(0)
    model = MixtureOfExperts(tiny_recipe({"model.expert": expert}).model, (28, 28), (0.13,), (0.31,), labels).eval()
    images = noise(150)
    routed, found = route_with_features(model, images.numpy(), hard)
    embeddings, output = model.encoder(model.normalise(images)), model(images)
    logarithms = coarse_probability(output.expert_logit).log()
    odds = torch.stack([logarithms[:, :, k] - logarithms[:, :, 0] for k in range(labels)], dim=2)[:, :, 1:]
    chosen = torch.stack([odds[n, output.log_routing[n].argmax()] for n in range(150)])
    plain = torch.cat([embeddings, chosen if hard else odds.reshape(150, -1)], dim=1)
    torch.testing.assert_close(found, plain)
    for ours, theirs in zip(vars(routed).values(), vars(route(model, images.numpy(), hard)).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_rest_counts_for_half() -> None:
    generator = torch.Generator().manual_seed(0)
    features, cells = torch.randn(200, 4, generator=generator), np.zeros(200, np.int64)
    rest = features[:, 1].abs() + 3
    plain = torch.cat([features[:, :1], features[:, 2:]], dim=1)
    with_rest = torch.cat([features[:, :1], rest[:, None], features[:, 2:]], dim=1)
    found = fit_confidence(with_rest, cells, rest=1)(with_rest)
    distance = 1 / fit_confidence(plain, cells)(plain) - 1
    expected = 1 / (1 + distance / 2 + rest.square() / rest.square().mean() / 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
