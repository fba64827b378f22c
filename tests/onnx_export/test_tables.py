"""The tables of exported bundles, beside scikit-learn and the evaluation room."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.class_map import guesses
from clustnet.bundles.evaluation_file import read_evaluation
from clustnet.bundles.predictor import Predictor
from evaluation.report.reference_budget import reference_budget
from onnx_export.tables import DRAWS
from tests.training.tiny import tiny_recipe
from training.data.data import load_split
from training.runs.run_folder import RunFolder


@pytest.mark.parametrize("kind", ["soft", "hard", "colour", "clusters"])
def test_the_tables_are_those_of_the_bundle(bundle: Any, run: Callable[[str], Path], kind: str) -> None:
    folder, exported = bundle(kind)
    data, experts = RunFolder(run(kind)).recipe().data, exported.manifest.experts
    test, train = load_split(data, "test"), load_split(data, "train")
    assert test is not None
    predictor = Predictor(Bundle(folder), "cpu")
    found = predictor.predict(test.images)
    evaluation = read_evaluation(predictor.bundle)
    assert evaluation is not None
    assert (evaluation.data, evaluation.images, evaluation.seed) == (f"{data.name}:test", 100, 0)
    guess = guesses(found.coarse_probability, found.class_probability, exported.manifest.membership())
    expert = found.routing.argmax(axis=1)
    assert evaluation.confusion == confusion_matrix(test.fine, guess, labels=range(10)).tolist()
    assert evaluation.experts == confusion_matrix(expert, test.fine, labels=range(10))[:experts].tolist()
    budgets = [point.per_class for point in evaluation.budget.points]
    plain = reference_budget(predictor, train, test, budgets).accuracy[:, :DRAWS]
    assert [point.mean for point in evaluation.budget.points] == pytest.approx(plain.mean(axis=1))
    assert [point.least for point in evaluation.budget.points] == pytest.approx(plain.min(axis=1))
    assert [point.greatest for point in evaluation.budget.points] == pytest.approx(plain.max(axis=1))


def test_budgets_stop_at_the_smallest_class(bundle: Any) -> None:
    evaluation = read_evaluation(Bundle(bundle("soft")[0]))
    assert evaluation is not None
    fewest = np.bincount(load_split(tiny_recipe().data, "train").fine).min()
    assert [point.per_class for point in evaluation.budget.points] == [b for b in (1, 2, 5, 10, 20) if b <= fewest]
    assert (evaluation.budget.data, evaluation.budget.draws) == ("mnist:train", DRAWS)


def test_the_file_is_listed_with_its_hash(bundle: Any) -> None:
    folder, exported = bundle("soft")
    assert "evaluation.json" in exported.manifest.files
    assert json.loads((Path(folder) / "evaluation.json").read_text())["schema_version"] == 1
