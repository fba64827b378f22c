import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clustnet.errors import UserError
from clustnet.feedback.feedback_file import Answer, FeedbackFile, Labels
from evaluation.feedback.report import write_feedback_report
from evaluation.feedback.scoring import Share, score_feedback

MODEL = Labels("mnist", "1", ("cat", "dog", "eel"), {"dry": [0, 1], "wet": [2]})
# label, guess, its probability, coarse label, abstains
ROWS = [
    ("cat", "cat", 0.9, "dry", False),
    ("cat", "dog", 0.8, "dry", False),
    ("cat", "eel", 0.6, "wet", True),
    ("eel", "eel", 0.9, "wet", False),
    ("eel", "eel", 0.7, "dry", True),
]


def write(path: Path, model: Labels = MODEL, rows: list[tuple[str, str, float, str, bool]] = ROWS) -> Path:
    """Write a feedback file of images that were answered a second after the other, from 1970 on."""
    with closing(FeedbackFile(path, 1000)) as file:
        for number, (label, guess, probability, coarse, abstain) in enumerate(rows):
            answer = Answer(number, guess, probability, coarse, 0.5, number % 2, 0.5, abstain)
            file.add(model, f"{model.name}-{number}", 0, answer, label)
    return path


def test_scores_by_hand(tmp_path: Path) -> None:
    (found,) = score_feedback(write(tmp_path / "file"))
    assert (found.accuracy, found.coarse_accuracy) == (Share(3, 5), Share(3, 5))
    assert (found.accuracy_without_abstained, found.abstained) == (Share(2, 3), Share(2, 5))
    assert found.mean_class_probability == pytest.approx(0.78)
    assert found.reliability.error == pytest.approx((2 * abs(1 - 0.9) + 0.8 + 0.6 + abs(1 - 0.7)) / 5)
    np.testing.assert_array_equal(found.confusion, [[1, 1, 1], [0, 0, 0], [0, 0, 2]])
    assert [(row.name, row.recall, row.precision) for row in found.classes()] == [
        ("cat", Share(1, 3), Share(1, 1)),
        ("dog", Share(0, 0), Share(0, 1)),
        ("eel", Share(2, 2), Share(2, 3)),
    ]
    assert (found.first.isoformat(), found.last.isoformat()) == (
        "1970-01-01T00:00:00+00:00",
        "1970-01-01T00:00:04+00:00",
    )


@pytest.mark.parametrize(
    ("right", "images", "interval"),
    [  # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (0, 0, (0, 1)),
    ],
)
def test_intervals_are_the_published_ones(right: int, images: int, interval: tuple[float, float]) -> None:
    assert Share(right, images).interval == pytest.approx(interval, abs=5e-5)


def test_a_share_of_nothing_is_no_number() -> None:
    assert np.isnan(Share(0, 0).value)


def test_models_are_scored_apart(tmp_path: Path) -> None:
    path = write(write(tmp_path / "file"), Labels("other", "2", MODEL.classes, MODEL.coarse), ROWS[:1])
    assert [(found.labels.name, len(found.rows)) for found in score_feedback(path)] == [("mnist", 5), ("other", 1)]


def test_no_feedback_and_strange_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no feedback yet"):
        score_feedback(write(tmp_path / "empty", rows=[]))
    strange = write(tmp_path / "strange", rows=[("fox", "cat", 0.9, "dry", False)])
    with pytest.raises(UserError, match="the label 'fox', which the model does not know"):
        score_feedback(strange)


def test_one_coarse_label_has_no_accuracy(tmp_path: Path) -> None:
    model = Labels("mnist", "1", MODEL.classes, {"all": [0, 1, 2]})
    rows = [(label, guess, probability, "all", abstains) for label, guess, probability, _, abstains in ROWS]
    scores = score_feedback(write(tmp_path / "file", model, rows))
    write_feedback_report(tmp_path / "file", scores, tmp_path / "report")
    (shown,) = json.loads((tmp_path / "report" / "scores.json").read_text())["models"]
    assert shown["scores"]["class_accuracy"]["right"] == 3
    assert "coarse_accuracy" not in shown["scores"]


def test_three_coarse_labels_are_scored(tmp_path: Path) -> None:
    model = Labels("mnist", "1", MODEL.classes, {"dry": [0], "wet": [1], "salt": [2]})
    rows = [("cat", "cat", 0.9, "dry", False), ("dog", "cat", 0.8, "dry", False), ("eel", "eel", 0.6, "salt", True)]
    (found,) = score_feedback(write(tmp_path / "file", model, rows))
    assert found.coarse_accuracy == Share(2, 3)
