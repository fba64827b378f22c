from dataclasses import replace

import numpy as np
import pytest

from clustnet.bundles.answers import Answers
from clustnet.bundles.groups import ALL, UNKNOWN, CoarseGrouping
from clustnet.errors import UserError
from evaluation.report.scoring import Evaluation, evaluate, with_truth
from tests.evaluation.made_up import GROUPINGS, HALVES, WHOLE, Known, evaluation, info

each_grouping = pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda grouping: str(len(grouping.labels)))


class Source:
    """A source that answers what was made up."""

    def __init__(self, made: Evaluation) -> None:
        self.info, self.answers = made.info, made.answers

    def answer(self, images: np.ndarray) -> Answers:
        return self.answers

    def description(self) -> dict[str, str]:
        return {"url": "http://x"}


@each_grouping
@pytest.mark.parametrize("known", ["fine", "coarse", "nothing", "some"])
def test_an_evaluation_scores_the_answers(grouping: CoarseGrouping, known: Known) -> None:
    made = evaluation(grouping=grouping, known=known)
    found = evaluate(Source(made), made.data)  # type: ignore[arg-type]
    assert found.scores == made.scores
    assert (found.info, found.source) == (made.info, made.source)


@each_grouping
def test_classes_say_the_coarse_labels(grouping: CoarseGrouping) -> None:
    data = evaluation(grouping=grouping).data
    benchmark = replace(data, coarse=np.zeros(len(data), int), coarse_labels=(ALL,))
    found = with_truth(benchmark, info(grouping=grouping))
    np.testing.assert_array_equal(found.coarse, data.coarse)
    assert found.coarse_labels == grouping.labels


def test_coarse_labels_alone_are_kept() -> None:
    data = replace(evaluation(known="coarse").data, classes=())
    found = with_truth(data, info())
    np.testing.assert_array_equal(found.coarse, data.coarse)
    assert (found.classes, set(found.fine)) == (info().class_names, {UNKNOWN})


def test_images_without_truth_stay_without() -> None:
    data = replace(evaluation(known="nothing", grouping=WHOLE).data, classes=())
    assert set(with_truth(data, info()).coarse) == {UNKNOWN}
    assert set(with_truth(data, info(grouping=WHOLE)).coarse) == {0}


def test_data_of_other_names_are_refused() -> None:
    data = evaluation().data
    with pytest.raises(UserError, match=r"knows the classes 0, 1, .*, 9, but made-up has a, b; use data"):
        with_truth(replace(data, classes=("a", "b")), info())
    with pytest.raises(UserError, match="knows the coarse labels 0-4, 5-9, but made-up has low, high; use data"):
        with_truth(replace(data, coarse_labels=("low", "high")), info(grouping=HALVES))


def test_no_images_are_refused() -> None:
    made = evaluation()
    with pytest.raises(UserError, match="The split test of made-up holds no images"):
        evaluate(Source(made), made.data.first(0))  # type: ignore[arg-type]
