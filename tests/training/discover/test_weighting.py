"""Representations count by how well they keep the coarse labels apart."""

import numpy as np

from training.discover.weighting import joined, weigh


def test_what_tells_labels_apart_counts() -> None:
    generator = np.random.default_rng(0)
    coarse = np.repeat([0, 1], 100)
    good = (generator.normal(size=(200, 5)) + 6 * coarse[:, None]).astype(np.float32)
    noise = generator.normal(size=(200, 5)).astype(np.float32)
    errors, weights = weigh({"good": good, "noise": noise}, coarse, 0)
    assert errors["good"] < 0.02 < 0.3 < errors["noise"]
    assert weights == {"good": 1.0}


def test_one_label_weighs_nothing() -> None:
    rows = {"a": np.ones((4, 2), np.float32), "b": np.ones((4, 2), np.float32)}
    assert weigh(rows, np.zeros(4, np.int64), 0) == ({}, {"a": 1.0, "b": 1.0})


def test_scales_do_not_count() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    space = joined({"a": rows, "b": 1000 * rows}, {"a": 1.0, "b": 0.5})
    np.testing.assert_allclose(space[:, :3], 2 * space[:, 3:], rtol=1e-5)
