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
from evaluation.sources.coarse_option import grouping_from_labels
from evaluation.sources.url_source import _Answer, _arrays
from onnx_export.export import export
from serving.api.responses import PredictResponse, model_of, predictions_of
from tests.training.deep import deep_recipe
from training.runs.loop import train


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clusters")
    train(deep_recipe(), folder / "run")
    export(folder / "run", folder / "bundle")
    return folder / "bundle"


def test_the_manifest_holds_one_group_and_one_cell_an_expert(bundle: Path) -> None:
    manifest = Bundle(bundle).manifest
    assert manifest.method == "deep_clustering"
    assert manifest.grouping() == CoarseGrouping.whole(10)
    assert manifest.class_map.array().shape == (4, 1, 10)
    assert not {"binary_accuracy", "group_accuracy/all"} & {score.name for score in manifest.scores}
    assert "without any label" in (bundle / "README.md").read_text()


def test_the_guess_is_the_routing_read_through_the_class_map(bundle: Path) -> None:
    loaded = Bundle(bundle)
    outputs = Predictor(loaded, "cpu").predict(load("mnist:test").images[:50])
    assert outputs.positive_probability.max() < 1e-9
    wanted = outputs.routing @ loaded.manifest.class_map.array()[:, 0]
    np.testing.assert_allclose(outputs.class_probability, wanted, atol=1e-5)


def test_binary_is_null_and_a_client_reads_it_back(bundle: Path) -> None:
    loaded = Bundle(bundle)
    images = load("mnist:test").images[:5]
    found = predictions_of(Predictor(loaded, "cpu").predict(images), loaded.manifest)
    text = PredictResponse(model=model_of(loaded.manifest), predictions=found).model_dump_json()
    assert [prediction["binary"] for prediction in json.loads(text)["predictions"]] == [None] * 5
    answers = _arrays(_Answer.model_validate_json(text), 5)
    direct = BundleSource(bundle, "cpu").answer(images)
    assert answers.coarse_label.tolist() == direct.coarse_label.tolist() == ["all"] * 5
    assert answers.coarse_probability.tolist() == pytest.approx(direct.coarse_probability.tolist())
    assert grouping_from_labels(set(answers.coarse_label), 10) == CoarseGrouping.whole(10)


def test_the_report_leaves_out_what_is_about_coarse_labels(bundle: Path, tmp_path: Path) -> None:
    evaluation = evaluate(BundleSource(bundle, "cpu"), load("mnist:test").first(200))
    assert not {"binary_accuracy", "binary_calibration_error", "group_accuracy/all"} & evaluation.scores.keys()
    assert {"cell_accuracy", "nmi", "class_accuracy"} <= evaluation.scores.keys()
    write_report(evaluation, tmp_path / "report")
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert "confusion_group_0.png" in files
    assert not {"confusion_group_1.png", "reliability_coarse.png"} & files


def test_a_manifest_whose_one_group_lacks_a_class_is_refused(bundle: Path) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    content["coarse_groups"] = [[0, 1, 2]]
    with pytest.raises(ValueError, match="one group of all fine classes where there are no coarse labels"):
        type(Bundle(bundle).manifest).model_validate(content)


def test_clustnet_itself_needs_coarse_labels() -> None:
    with pytest.raises(UserError, match=r"data.coarse is null, but clustnet learns from coarse labels"):
        deep_recipe(method="clustnet", clustering={"starts": 10, "refresh": 140}, model={"architecture": None})
