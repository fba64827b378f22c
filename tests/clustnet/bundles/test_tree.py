import numpy as np

from clustnet.bundles.tree import walk


def test_walk_goes_to_the_best_child() -> None:
    # Two of the highest level; below the first two, and below the second of these two more.
    parents = [-1, -1, 0, 0, 3, 3]
    probability = np.array(
        [
            [0.6, 0.4, 0.2, 0.4, 0.1, 0.3],
            [0.7, 0.3, 0.4, 0.3, 0.2, 0.1],
            # The most probable leaf, 1, is not below the best child of the root.
            [0.4, 0.6, 0.2, 0.2, 0.1, 0.1],
        ]
    )
    assert walk(parents, probability).tolist() == [[0, 3, 5], [0, 2, -1], [1, -1, -1]]


def test_walk_through_one_level() -> None:
    assert walk([-1, -1], np.array([[0.2, 0.8]])).tolist() == [[1]]
    assert walk([-1, -1], np.empty((0, 2))).shape[0] == 0
