"""The tree of merges on clusters whose distances are known."""

import numpy as np

from training.discover.merges import Group, groups, merge_tree, nearest


def _rows(centre: float, count: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, 4)) + centre * np.eye(4)[0]).astype(np.float32)


def test_the_nearest_are_merged_first() -> None:
    rows = np.concatenate([_rows(0, 100, 0), _rows(40, 50, 1), _rows(4, 30, 2), _rows(43, 60, 3)])
    clusters = np.repeat(np.arange(4), [100, 50, 30, 60])
    found = groups(rows, clusters, ["ok/1", "ok/2", "ok/3", "ok/4"])
    tree = merge_tree("ok", found)
    assert [(merge.first, merge.second, merge.images, merge.left) for merge in tree] == [
        ("ok/4", "ok/2", 110, 3),
        ("ok/1", "ok/3", 130, 2),
        ("ok/+2", "ok/+1", 240, 1),
    ]
    assert tree[0].distance < tree[1].distance < tree[2].distance
    near = {name: other for name, (other, _) in nearest(found).items()}
    assert near == {"ok/1": "ok/3", "ok/2": "ok/4", "ok/3": "ok/1", "ok/4": "ok/2"}


def test_a_merge_has_exact_mean_and_spread() -> None:
    one, other = _rows(0, 70, 0), _rows(9, 20, 1)
    merged = Group.of("a", one).merged(Group.of("b", other), "a")
    both = Group.of("a", np.concatenate([one, other]))
    assert merged.images == 90
    np.testing.assert_allclose(merged.mean, both.mean, atol=1e-5)
    assert abs(merged.spread - both.spread) < 1e-4


def test_equal_images_have_no_distance() -> None:
    same = np.ones((5, 3), np.float32)
    assert Group.of("a", same).distance(Group.of("b", same)) == 0


def test_one_subtype_has_no_merge() -> None:
    found = groups(_rows(0, 5, 0), np.zeros(5, np.int64), ["ok/1", "ok/2"])
    assert merge_tree("ok", found) == []
    assert nearest(found) == {}
