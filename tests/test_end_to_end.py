"""The whole way by the commands: train a tiny run, export it, serve it, send it images over HTTP, evaluate it."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest
from PIL import Image

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.class_map import guesses
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.preparation import prepare
from clustnet.cli import main
from clustnet.datasets import LabelledImages
from tests.image_folder import write_coarse_folder
from tests.serving.server import running_service

TINY_DIGITS = [
    *("--data.train_images", "600", "--data.test_images", "300"),
    *("--optimisation.epochs", "1", "--reference.per_class", "5"),
]
# Own images: coarse labels from sub-folders, no fine label, no reference/ and no test/.
RECIPE: dict[str, Any] = {
    "method": "clustnet",
    "routing": "hard",
    "data": {"name": "folder", "size": [16, 16]},
    "model": {"experts": 2, "channels": [4, 8], "embedding": 16},
    "loss": {"mutual_information": 1.0},
    "augmentation": {"shift": 0.1},
    "optimisation": {"epochs": 4, "batch_size": 10, "learning_rate": 0.01},
}
FOLDERS = {"colours": ("blue", "green", "red"), "single": ("green",)}
KINDS = ("digits", *FOLDERS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("end-to-end")


@pytest.fixture(scope="module")
def bundles(place: Path) -> dict[str, Path]:
    """The bundles that the real commands made, beside ``runs/`` and ``images/``."""
    (place / "recipe.yaml").write_text(json.dumps(RECIPE))
    words = {"digits": ["configs/mnist_hard.yaml", *TINY_DIGITS]}
    for kind, labels in FOLDERS.items():
        folder = write_coarse_folder(place / "images" / kind, labels)
        words[kind] = [str(place / "recipe.yaml"), "--data", f"folder:{folder}"]
    for kind in KINDS:
        assert main(["train", *words[kind], "--out", str(place / "runs" / kind)]) == 0
        assert main(["export", str(place / "runs" / kind), "--out", str(place / kind)]) == 0
    return {kind: place / kind for kind in KINDS}


@pytest.fixture(scope="module")
def url(bundles: dict[str, Path]) -> Iterator[str]:
    """The address of a service of all bundles."""
    with running_service(":".join(map(str, bundles.values()))) as url:
        yield url


@pytest.fixture(scope="module")
def images(place: Path, bundles: dict[str, Path], mnist_test: LabelledImages) -> Callable[[str], list[bytes]]:
    """Give some image files of a kind."""

    def images(kind: str) -> list[bytes]:
        if kind == "digits":
            return [_png(digit) for digit in mnist_test.images[:5]]
        return [path.read_bytes() for path in sorted((place / "images" / kind).glob("*/*"))[::7]]

    return images


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_answers_over_http_are_the_bundles(
    bundles: dict[str, Path], url: str, images: Callable[[str], list[bytes]], kind: str
) -> None:
    predictor, files = Predictor(Bundle(bundles[kind]), "cpu"), images(kind)
    manifest, labels = predictor.manifest, predictor.manifest.coarse_labels
    prepared = np.stack([prepare(file, manifest.input) for file in files])
    expected = predictor.predict(prepared)
    guess = guesses(expected.coarse_probability, expected.class_probability, manifest.membership())
    answer = httpx.post(f"{url}/predict", params={"model": kind}, json={"images": prepared.tolist()}).json()
    assert answer["model"] == {"name": kind, "version": "1"}
    found = answer["predictions"]
    assert [one["expert"] for one in found] == expected.routing.argmax(axis=1).tolist()
    assert [one["coarse"]["label"] for one in found] == [labels[k] for k in expected.coarse_probability.argmax(axis=1)]
    assert [one["guess"]["label"] for one in found] == [manifest.class_names[index] for index in guess]
    assert all((one["binary"] is None) == (len(labels) != 2) for one in found)
    for file, one in zip(files, found, strict=True):
        upload = {"image": ("image.png", file, "image/png")}
        response = httpx.post(f"{url}/predict_image", params={"model": kind}, files=upload)
        prediction = response.json()["prediction"]
        assert prediction["guess"]["label"] == one["guess"]["label"]
        assert prediction["class_probabilities"] == pytest.approx(one["class_probabilities"], abs=1e-5)


def test_bentoml_s_client_gets_the_same_answers(url: str, mnist_test: LabelledImages) -> None:
    digits = mnist_test.images[:20]
    answer = httpx.post(f"{url}/predict", json={"images": digits.tolist()}).json()
    with bentoml.SyncHTTPClient(url) as client:
        assert client.predict(images=digits)["predictions"] == answer["predictions"]


def test_a_url_is_evaluated_as_its_bundle(bundles: dict[str, Path], url: str, tmp_path: Path) -> None:
    arguments = ["--data", "mnist:test", "--limit", "300", "--out"]
    assert main(["evaluate", "--url", url, *arguments, str(tmp_path / "url")]) == 0
    assert main(["evaluate", "--bundle", str(bundles["digits"]), *arguments, str(tmp_path / "bundle")]) == 0
    assert _scores(tmp_path / "url") == _scores(tmp_path / "bundle")


def _scores(report: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((report / "scores.json").read_text())
    del scores["source"]
    return scores


@pytest.mark.parametrize("kind", FOLDERS)
def test_images_without_fine_labels_are_evaluated(
    place: Path, bundles: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    words = ["--data", f"folder:{place / 'images' / kind}", "--out", str(tmp_path / "report")]
    assert main(["evaluate", "--bundle", str(bundles[kind]), *words]) == 0
    scores = _scores(tmp_path / "report")["scores"]
    assert ("coarse_accuracy" in scores) == (kind == "colours")
    assert scores.get("coarse_accuracy", 1) > 0.9
    assert not {"class_accuracy", "nmi", "calibration_error"} & scores.keys()
    tables = [tmp_path / "report" / "predictions.csv", place / "runs" / kind / "images" / "epoch_004_train.csv"]
    for table in tables:
        rows = list(csv.DictReader(table.read_text().splitlines()))
        assert next(iter(rows[0])) == "file"
        assert all((place / "images" / kind / row["file"]).is_file() for row in rows)


@pytest.mark.parametrize("kind", FOLDERS)
def test_cells_become_subtypes_of_their_label(bundles: dict[str, Path], kind: str) -> None:
    manifest = Bundle(bundles[kind]).manifest
    assert manifest.coarse_labels == FOLDERS[kind]
    assert (manifest.input.shape, manifest.input.preparation) == ((16, 16, 3), "fit")
    assert {subtype.name.rpartition("/")[0] for subtype in manifest.subtypes} == set(FOLDERS[kind])
    assert (manifest.class_map.kind, manifest.scores) == ("cells", [])


def test_a_bundle_of_schema_2_is_refused(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    manifest = json.loads((bundles["digits"] / "manifest.json").read_text())
    (old / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 2}))
    assert main(["evaluate", "--bundle", str(old), "--data", "mnist:test", "--out", str(tmp_path / "report")]) == 2
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith(
            f"The bundle {old} has schema 2, but this release reads schema 3; "
            f"export its run again with 'clustnet export RUN --out {old}'."
        )
    )
