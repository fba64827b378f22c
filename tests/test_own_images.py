"""The whole way for own images by the commands: 300 photographs of three coarse labels, found, exported and served."""

import csv
from collections import defaultdict
from pathlib import Path

import httpx
import pytest

from clustnet.cli import main
from tests.image_folder import write_coarse_folder
from tests.serving.server import running_service

# Of a machine that does other work, too.
SECONDS = 1800

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS)]


def test_photographs_are_found_and_served(tmp_path: Path) -> None:
    photos = write_coarse_folder(tmp_path / "photos", images=100)
    run, bundle = tmp_path / "run", tmp_path / "photos_bundle"
    assert main(["discover", str(photos), "--out", str(run), "--subtypes", "2", "--encoder", "lite0"]) == 0
    assert main(["export", str(run), "--out", str(bundle)]) == 0
    with (run / "subtypes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    answers = defaultdict(list)
    with running_service(bundle) as url, httpx.Client(base_url=url, timeout=60) as client:
        for row in rows[::10]:
            upload = {"image": ("image.png", (photos / row["file"]).read_bytes())}
            prediction = client.post("/predict_image", files=upload).json()["prediction"]
            answers["coarse"].append(prediction["coarse"]["label"] == row["coarse"])
            answers["subtype"].append(prediction["guess"]["label"] == row["subtype"])
    assert sum(answers["coarse"]) >= 29
    assert sum(answers["subtype"]) >= 27
