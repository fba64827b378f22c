from pathlib import Path

import numpy as np

from benchmarks.own_images import Pictures, first, matched, written
from clustnet.scores.scores import clustering_accuracy


def pictures() -> Pictures:
    fine = np.array([0, 1, 2, 0, 1, 2])
    labels = {"even": [0, 2], "odd": [1]}
    return Pictures([bytes([137, *b"PNG", number]) for number in range(6)], fine, np.arange(6) < 4, labels, ("even",))


def test_files_lie_in_their_coarse_label(tmp_path: Path) -> None:
    names = dict(written(pictures(), tmp_path))
    assert names["train/odd/000001.png"] == 1
    assert names["test/even/000005.png"] == 2
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == sorted(names)


def test_fewer_training_images_keep_the_test() -> None:
    some = first(pictures(), 2)
    assert some.train.tolist() == [True, True, False, False]
    assert some.fine.tolist() == [0, 1, 1, 2]


def test_matching_is_the_clustering_accuracy() -> None:
    generator = np.random.default_rng(0)
    clusters, fine = generator.integers(0, 4, 200), generator.integers(0, 4, 200)
    assert matched(clusters, fine) == clustering_accuracy(clusters, fine)
