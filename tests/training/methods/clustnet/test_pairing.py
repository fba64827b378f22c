import numpy as np
import pytest

from training.methods.clustnet.pairing import paired

COUNT = 60  # images of a cluster


def _images(looks: list[int]) -> np.ndarray:
    """Noise with a bright stripe where the look says, 60 of each."""
    images = np.random.default_rng(0).random((len(looks) * COUNT, 12, 12)).astype(np.float32) / 6
    for image, look in zip(images, np.repeat(looks, COUNT), strict=True):
        image[3 * look : 3 * look + 3] += 0.8
    return images.reshape(len(images), -1)


def _clusters(count: int) -> np.ndarray:
    return np.repeat(np.arange(count), COUNT)


@pytest.mark.parametrize(("looks", "expected"), [([0, 1], [1, 0]), ([1, 0], [0, 1])])
def test_clusters_that_a_weak_classifier_cannot_tell_apart_do_not_share_an_expert(
    looks: list[int], expected: list[int]
) -> None:
    """Look 0 of one group is like look 0 of the other, and look 1 like look 1."""
    pixels = (_images([0, 1]), _images(looks))
    first, second = paired(pixels, (_clusters(2), _clusters(2)), (2, 2), np.random.default_rng(0))
    np.testing.assert_array_equal(first, _clusters(2))
    np.testing.assert_array_equal(second, np.repeat(expected, COUNT))


def test_a_cluster_without_a_partner_gets_an_expert_of_its_own() -> None:
    pixels = (_images([0]), _images([0, 1, 2]))
    first, second = paired(pixels, (_clusters(1), _clusters(3)), (1, 3), np.random.default_rng(0))
    assert set(first) == {0}
    assert sorted(second[::COUNT]) == [0, 1, 2]
    assert second[0] != 0  # look 0 cannot be told from the first group's


def test_more_clusters_in_the_first_group_than_in_the_second() -> None:
    pixels = (_images([0, 1, 2]), _images([1]))
    first, second = paired(pixels, (_clusters(3), _clusters(1)), (3, 1), np.random.default_rng(0))
    np.testing.assert_array_equal(first, _clusters(3))
    assert len(set(second)) == 1
    assert second[0] in (0, 2)
