"""A model of deep_clustering without coarse labels, from its export to the service's answer and the report."""

import json
from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.groups import CoarseGrouping
from clustnet.bundles.predictor import Predictor
from clustnet.datasets import load
from clustnet.errors import UserError
from evaluation.report.report import write_report
from evaluation.report.scoring import evaluate
from evaluation.sources.bundle_source import BundleSource
from evaluation.sources.url_source import _Answer, _arrays
from onnx_export.export import export
from serving.api.responses import PredictResponse, model_of, predictions_of
from tests.training.deep import deep_recipe
from tests.training.tiny import tiny_recipe
from training.runs.loop import train


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clusters")
    train(deep_recipe(), folder / "run")
    export(folder / "run", folder / "bundle")
    return folder / "bundle"


def test_each_expert_has_one_cell(bundle: Path) -> None:
    manifest = Bundle(bundle).manifest
    assert manifest.method == "deep_clustering"
    assert manifest.grouping() == CoarseGrouping.whole(10)
    assert manifest.class_map.array().shape == (4, 1, 10)
    assert not {"coarse_accuracy", "group_accuracy/all"} & {score.name for score in manifest.scores}
    assert "without any label" in (bundle / "README.md").read_text()


def test_the_guess_is_routing_through_the_class_map(bundle: Path) -> None:
    loaded = Bundle(bundle)
    outputs = Predictor(loaded, "cpu").predict(load("mnist:test").images[:50])
    np.testing.assert_allclose(outputs.coarse_probability, np.ones((50, 1)), atol=1e-6)
    wanted = outputs.routing @ loaded.manifest.class_map.array()[:, 0]
    np.testing.assert_allclose(outputs.class_probability, wanted, atol=1e-5)


def test_binary_is_null_and_read_back(bundle: Path) -> None:
    loaded = Bundle(bundle)
    images = load("mnist:test").images[:5]
    found = predictions_of(Predictor(loaded, "cpu").predict(images), loaded.manifest)
    text = PredictResponse(model=model_of(loaded.manifest), predictions=found).model_dump_json()
    assert [prediction["binary"] for prediction in json.loads(text)["predictions"]] == [None] * 5
    source = BundleSource(bundle, "cpu")
    answers = _arrays(_Answer.model_validate_json(text).predictions, 5, source.info)
    direct = source.answer(images)
    assert answers.coarse_label.tolist() == direct.coarse_label.tolist() == ["all"] * 5
    np.testing.assert_allclose(answers.coarse_probability, direct.coarse_probability)


def test_the_report_leaves_out_coarse_scores(bundle: Path, tmp_path: Path) -> None:
    evaluation = evaluate(BundleSource(bundle, "cpu"), load("mnist:test").first(200))
    assert not {"coarse_accuracy", "coarse_calibration_error", "group_accuracy/all"} & evaluation.scores.keys()
    assert {"cell_accuracy", "nmi", "class_accuracy"} <= evaluation.scores.keys()
    write_report(evaluation, tmp_path / "report")
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert "confusion_group_0.png" in files
    assert not {"confusion_group_1.png", "reliability_coarse.png"} & files


def test_clustnet_alone_learns_nothing_from_one_label() -> None:
    with pytest.raises(UserError, match=r"only one coarse label, 'all', from which the experts cannot learn"):
        tiny_recipe({"data.coarse": None})
