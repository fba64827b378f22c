"""Own photographs by the commands that a user types: discover, export, serve, and one request a photograph."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from clustnet.cli import main
from tests.image_folder import CLASSES, write_coarse_folder
from tests.serving.server import running_service
from training.discover.subtypes import Row, read_subtypes

pytestmark = pytest.mark.slow

IMAGES = 300
LABELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coarse_folder(tmp_path_factory.mktemp("own-images") / "photos", LABELS, IMAGES // len(LABELS))


@pytest.fixture(scope="module")
def rows(photos: Path) -> list[Row]:
    """What ``clustnet discover`` finds without a recipe, a fine class or a number."""
    assert main(["discover", str(photos), "--out", str(photos.parent / "run")]) == 0
    return read_subtypes(photos.parent / "run" / "subtypes.csv")


@pytest.fixture(scope="module")
def url(photos: Path, rows: list[Row]) -> Iterator[str]:
    bundle = photos.parent / "bundle"
    assert main(["export", str(photos.parent / "run"), "--out", str(bundle)]) == 0
    with running_service(str(bundle)) as url:
        yield url


def test_every_subtype_is_of_one_class(rows: list[Row]) -> None:
    """Bars on the left and on the right, which no folder names, are in different subtypes."""
    assert len(rows) == IMAGES
    by_subtype: dict[str, list[int]] = {}
    for row in rows:
        by_subtype.setdefault(row.subtype, []).append([word in row.file for word in CLASSES].index(True))
    right = sum(int(np.bincount(classes).max()) for classes in by_subtype.values())
    assert right / IMAGES > 0.95


def test_the_service_answers_what_was_found(photos: Path, rows: list[Row], url: str) -> None:
    shown, agreed = rows[:: IMAGES // 30], 0
    for row in shown:
        response = httpx.post(f"{url}/predict_image", files={"image": (photos / row.file).read_bytes()}, timeout=30)
        prediction = response.raise_for_status().json()["prediction"]
        assert prediction["coarse"]["label"] == row.coarse
        agreed += prediction["guess"]["label"] == row.subtype
    assert agreed / len(shown) > 0.9
