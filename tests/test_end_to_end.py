"""The whole way: train a tiny run, export it, serve it, ask it over HTTP, evaluate it through its URL."""

import io
import json
from pathlib import Path

import bentoml
import httpx
import pytest
from PIL import Image

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.cli import main
from clustnet.datasets import LabelledImages
from tests.serving.server import running_service

TINY = [
    *("--data.train_images", "600", "--data.test_images", "300"),
    *("--optimisation.epochs", "1", "--reference.per_class", "5"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that the real commands made."""
    folder = tmp_path_factory.mktemp("end-to-end")
    run, bundle = folder / "run", folder / "tiny"
    assert main(["train", "configs/mnist_hard.yaml", "--out", str(run), *TINY]) == 0
    assert main(["export", str(run), "--out", str(bundle)]) == 0
    return bundle


def test_from_training_to_evaluation_over_http(bundle: Path, mnist_test: LabelledImages, tmp_path: Path) -> None:
    digits = mnist_test.images[:20]
    expected = Predictor(Bundle(bundle), "cpu").predict(digits)
    with running_service(bundle) as url:
        answer = httpx.post(f"{url}/predict", json={"images": digits.tolist()}).json()
        assert answer["model"] == {"name": "tiny", "version": "1"}
        assert [p["expert"] for p in answer["predictions"]] == expected.routing.argmax(axis=1).tolist()

        with bentoml.SyncHTTPClient(url) as client:
            assert client.predict(images=digits)["predictions"] == answer["predictions"]

        prepared = [_post_png(url, digit) for digit in digits[:5]]
        assert all(prediction["guess"]["label"] in mnist_test.classes for prediction in prepared)

        arguments = ["--data", "mnist:test", "--limit", "300", "--out"]
        assert main(["evaluate", "--url", url, *arguments, str(tmp_path / "url")]) == 0
    assert main(["evaluate", "--bundle", str(bundle), *arguments, str(tmp_path / "bundle")]) == 0
    assert _scores(tmp_path / "url") == _scores(tmp_path / "bundle")


def _post_png(url: str, digit: object) -> dict[str, dict[str, str]]:
    file = io.BytesIO()
    Image.fromarray(digit).save(file, "PNG")
    response = httpx.post(f"{url}/predict_image", files={"image": ("digit.png", file.getvalue(), "image/png")})
    response.raise_for_status()
    return response.json()["prediction"]


def _scores(report: Path) -> dict[str, object]:
    scores = json.loads((report / "scores.json").read_text())
    del scores["source"]
    return scores
