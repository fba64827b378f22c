"""How Ray is started, and what is said where it is not."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from clustnet.errors import UserError
from tests.ray_processes import REPOSITORY

pytest.importorskip("ray", reason="Ray is not installed; it has no build for this machine.")

from clustnet import ray_cluster


def _doubling() -> Callable[[int], int]:
    return lambda number: 2 * number


@pytest.mark.parametrize("fault", ["The current node timed out.", ""])
def test_ray_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def failing(**_: object) -> None:
        raise Exception(fault)

    monkeypatch.setattr(ray_cluster.ray, "init", failing)
    with pytest.raises(UserError, match=f"Ray cannot be started or joined: {fault or 'Exception'}"):
        next(ray_cluster.on_ray(_doubling, [1]))


def test_no_items_start_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster.ray, "init", None)
    assert list(ray_cluster.on_ray(_doubling, [])) == []


def test_nothing_is_reported_to_rays_makers() -> None:
    """Ray reads these variables before it starts anything."""
    code = """
import clustnet.ray_cluster
from ray._common.usage import usage_lib
print(usage_lib.usage_stats_enabled())
"""
    shown = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
