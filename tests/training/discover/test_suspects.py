"""Wrong coarse labels on data whose wrong labels are known."""

import numpy as np

from training.discover.suspects import suspects


def _data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    coarse = np.repeat([0, 1, 2], 100)
    return (generator.normal(size=(300, 5)) + 4 * np.eye(3, 5)[coarse]).astype(np.float32), coarse


def test_wrong_labels_are_found() -> None:
    rows, truth = _data()
    given = truth.copy()
    given[:10] = 1
    given[150:155] = 2
    found = suspects(rows, given, np.ones(300, bool), 0)
    assert (found[:10] == 0).mean() >= 0.6
    assert (found[150:155] == 1).mean() >= 0.6
    assert (found[given == truth] == -1).mean() > 0.98


def test_test_images_are_judged_by_training_images() -> None:
    rows, truth = _data()
    given = truth.copy()
    given[0] = 2
    train = np.arange(300) % 3 > 0
    assert suspects(rows, given, train, 0)[0] == 0


def test_one_label_has_no_suspects() -> None:
    rows, _ = _data()
    assert (suspects(rows, np.zeros(300, np.int64), np.ones(300, bool), 0) == -1).all()


def test_a_label_of_one_image_is_passed_over() -> None:
    rows, coarse = _data()
    coarse[0] = 3
    assert (suspects(rows, coarse, np.ones(300, bool), 0) == -1).all()
