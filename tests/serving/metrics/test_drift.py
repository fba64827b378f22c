"""The windows of the models that are served: in this process, and behind a real ``bentoml serve``."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from clustnet.bundles.bundle import Bundle, Manifest
from clustnet.bundles.drift import Observed
from clustnet.bundles.predictor import Predictor
from clustnet.datasets import LabelledImages
from serving.api.inference import predict_counted
from serving.api.responses import predictions_of
from serving.metrics.drift import Watch
from serving.metrics.metrics import DEFERRED, exposition
from serving.settings import SHIPPED_BUNDLE
from tests.serving.images import drawing
from tests.serving.server import running_service
from tests.synthetic import write_bundle

DISTRIBUTIONS = ("expert_load", "guess", "confidence", "brightness")
WATCH = Watch()
FIRST, SECOND = ("mnist", "1"), ("mnist", "2")


@pytest.fixture
def watched(tmp_path: Path) -> list[Predictor]:
    """Two versions of a model whose reference is noise, and one without a reference; all are served."""
    plain = Predictor(Bundle(write_bundle(tmp_path / "plain")), "cpu")
    outputs = plain.predict(noise(500))
    counted = Observed.of([outputs], [noise(500)], plain.manifest.membership())
    reference = {
        "data": "made:up",
        "images": 500,
        "held_out": True,
        "expert_load": np.bincount(counted.expert, minlength=5).tolist(),
        "guess": np.bincount(counted.guess, minlength=10).tolist(),
        "confidence": {"edges": [0.5], "counts": np.bincount(counted.confidence >= 0.5, minlength=2).tolist()},
        "brightness": {"edges": [0.4, 0.6], "counts": [0, 500, 0]},
    }
    folders = [write_bundle(tmp_path / v, name="mnist", version=v, drift=reference) for v in ("1", "2")]
    predictors = [*(Predictor(Bundle(folder), "cpu") for folder in folders), plain]
    WATCH.serve([predictor.manifest for predictor in predictors], 100)
    return predictors


def noise(images: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (images, 28, 28), dtype=np.uint8)


def value(metric: str, model: tuple[str, str], **labels: str) -> float | None:
    DEFERRED.flush()
    WATCH.show()
    return REGISTRY.get_sample_value(f"clustnet_drift_{metric}", {"model": model[0], "version": model[1], **labels})


def test_predictions_reach_the_window_of_their_version(watched: list[Predictor]) -> None:
    first, second, _ = watched
    assert value("window_images", FIRST) == 0
    for start in range(0, 30, 10):
        predict_counted(first, noise(30)[start : start + 10], WATCH)
    predict_counted(second, noise(7), WATCH)
    assert [value("window_images", model) for model in (FIRST, SECOND)] == [30, 7]
    load = np.bincount(first.predict(noise(30)).routing.argmax(axis=1), minlength=5)
    found = [value("bin_images", FIRST, distribution="expert_load", bin=str(expert)) for expert in range(5)]
    assert found == load.tolist()
    assert [value("alarm", FIRST, distribution=name) for name in DISTRIBUTIONS] == [0] * 4


def test_any_model_feeds_its_window(any_predictor: Predictor) -> None:
    manifest = any_predictor.manifest
    images = np.random.default_rng(0).integers(0, 256, (20, *manifest.input.shape)).astype(np.uint8)
    WATCH.serve([manifest], 100)
    outputs = predict_counted(any_predictor, images, WATCH)
    model = (manifest.name, manifest.version)
    assert value("window_images", model) == 20
    labels = [prediction.guess.label for prediction in predictions_of(outputs, manifest)]
    found = [
        value("bin_images", model, distribution="guess", bin=str(index)) for index in range(len(manifest.subtypes))
    ]
    assert found == [labels.count(name) for name in manifest.class_names]


def test_other_images_raise_an_alarm_that_ends(watched: list[Predictor]) -> None:
    first = watched[0]
    predict_counted(first, np.zeros((100, 28, 28), np.uint8), WATCH)
    assert (value("alarm", FIRST, distribution="brightness"), value("window_images", FIRST)) == (1, 100)
    assert (value("psi", FIRST, distribution="brightness") or 0) > 1
    assert value("alarm", SECOND, distribution="brightness") == 0
    predict_counted(first, noise(200), WATCH)
    assert value("alarm", FIRST, distribution="brightness") == 0
    assert (value("psi", FIRST, distribution="brightness") or 0) < 0.1


def test_a_bundle_without_a_reference_is_not_watched(watched: list[Predictor]) -> None:
    plain = watched[2]
    predict_counted(plain, noise(10), WATCH)
    assert value("window_images", (plain.manifest.name, "1")) is None


def test_an_unloaded_version_is_not_shown(watched: list[Predictor]) -> None:
    first, second, _ = watched
    predict_counted(first, noise(5), WATCH)
    predict_counted(second, noise(5), WATCH)
    assert windows([first, second]) == {"1": 5, "2": 5}
    assert windows([second]) == {"2": 5}
    # The window starts again, and the other goes on.
    assert windows([first, second]) == {"1": 0, "2": 5}


def windows(served: list[Predictor]) -> dict[str, float]:
    """Serve these and return the images in the window of each version."""
    DEFERRED.flush()
    WATCH.serve([predictor.manifest for predictor in served], 100)
    WATCH.show()
    told = exposition([(p.manifest, p.provider, True) for p in served]).decode()
    samples = (sample for family in text_string_to_metric_families(told) for sample in family.samples)
    return {some.labels["version"]: some.value for some in samples if some.name == "clustnet_drift_window_images"}


def test_images_of_a_replaced_model_are_dropped(watched: list[Predictor]) -> None:
    first = watched[0]
    again = first.manifest.model_copy()
    watch = Watch()
    watch.serve([first.manifest], 100)
    outputs = first.predict(noise(4))
    watch._add([(again, outputs, noise(4)), (first.manifest, outputs, noise(4))])
    ((_, window),) = watch._windows.values()
    assert window.images == 4
    # Otherwise another test would show this.
    DEFERRED.flush()


def test_no_image_can_break_the_window(watched: list[Predictor], caplog: pytest.LogCaptureFixture) -> None:
    """Answers that are no numbers, blank and full images, and a request far longer than the window."""
    first = watched[0]
    outputs = first.predict(noise(2))
    for array in (outputs.routing, outputs.class_probability, outputs.confidence):
        array[0] = np.nan
    WATCH.note(outputs, noise(2), first.manifest)
    predict_counted(first, np.zeros((1, 28, 28), np.uint8), WATCH)
    predict_counted(first, np.full((1024, 28, 28), 255, np.uint8), WATCH)
    assert 90 < (value("window_images", FIRST) or 0) <= 100
    assert value("bin_images", FIRST, distribution="brightness", bin="2") == value("window_images", FIRST)
    assert caplog.text == ""


def gauges(url: str) -> dict[tuple[str, str], float]:
    """Return the gauges of drift of the only model, by their name and distribution."""
    text = httpx.get(f"{url}/metrics").text
    return {
        (sample.name.removeprefix("clustnet_drift_"), sample.labels.get("distribution", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("clustnet_drift_") and "bin" not in sample.labels
    }


def test_every_protocol_feeds_the_shipped_bundles_window(mnist_test: LabelledImages) -> None:
    images = mnist_test.images[np.random.default_rng(0).permutation(10_000)[:190]]
    with running_service(SHIPPED_BUNDLE, CLUSTNET_DRIFT_WINDOW="200") as url:
        assert gauges(url)["window_images", ""] == 0
        httpx.post(f"{url}/predict", json={"images": images[:100].tolist()}).raise_for_status()
        httpx.post(f"{url}/predict_image", files={"image": drawing()}).raise_for_status()
        tensor = triton.InferInput("image", [90, 28, 28], "UINT8")
        tensor.set_data_from_numpy(images[100:])
        with triton.InferenceServerClient(url.removeprefix("http://")) as client:
            client.infer("mnist", [tensor])
        assert gauges(url)["window_images", ""] == 191
        assert sum(gauges(url)["alarm", name] for name in DISTRIBUTIONS) == 0
        httpx.post(f"{url}/predict", json={"images": (255 - images).tolist()}).raise_for_status()
        found = gauges(url)
    assert {name: found["alarm", name] for name in ("confidence", "brightness")} == {"confidence": 1, "brightness": 1}
    assert found["psi", "brightness"] > 0.25


def test_the_shipped_bundle_keeps_a_reference() -> None:
    manifest = Manifest.model_validate(json.loads((SHIPPED_BUNDLE / "manifest.json").read_text()))
    assert manifest.drift
    assert (manifest.drift.data, manifest.drift.images, manifest.drift.held_out) == ("mnist:train", 5000, False)
