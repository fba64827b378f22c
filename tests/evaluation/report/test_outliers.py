from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from clustnet.bundles.answers import Answers, Model
from clustnet.errors import UserError
from evaluation.report.outliers import OUTLIER_SCORES, check_outliers, compare_outliers
from tests.evaluation.made_up import evaluation

INLIERS = evaluation(60, perfect=True)
OUTLIERS = evaluation(50, seed=1)


class Knows:
    """A source that has one answer to everything."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def answer(self, images: np.ndarray) -> Answers:
        return self.answers


def test_each_score_is_what_it_says() -> None:
    answers = OUTLIERS.answers
    found = {key: score.of(answers) for key, score in OUTLIER_SCORES.items()}
    np.testing.assert_array_equal(found["confidence"], answers.confidence)
    np.testing.assert_array_equal(found["guess"], answers.class_probability.max(axis=1))
    np.testing.assert_allclose(found["class_entropy"], -entropy(answers.class_probability, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["routing_entropy"], -entropy(answers.routing, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found["coarse"], answers.coarse_probability)
    np.testing.assert_array_equal(found["cell"], answers.routing.max(axis=1) * answers.coarse_probability)


def test_the_areas_are_those_of_scikit_learn() -> None:
    found = compare_outliers(Knows(OUTLIERS.answers), INLIERS.answers, OUTLIERS.data)  # type: ignore[arg-type]
    truth = [1] * 60 + [0] * 50
    for key, score in OUTLIER_SCORES.items():
        values = [*score.of(INLIERS.answers), *score.of(OUTLIERS.answers)]
        assert found.auroc[key] == pytest.approx(roc_auc_score(truth, values))
    assert found.abstained == pytest.approx((OUTLIERS.answers.confidence < 0.6).mean())
    assert found.auroc["guess"] == 1  # the inliers are certain, the outliers are not


def test_the_same_images_cannot_be_told_apart() -> None:
    found = compare_outliers(Knows(INLIERS.answers), INLIERS.answers, INLIERS.data)  # type: ignore[arg-type]
    assert found.auroc == pytest.approx(dict.fromkeys(OUTLIER_SCORES, 0.5))


def test_a_model_that_changed_is_told() -> None:
    other = replace(OUTLIERS.answers, model=Model("made-up", "2"))
    with pytest.raises(UserError, match=r"changed its model during the evaluation \(made-up 1 and made-up 2\)"):
        compare_outliers(Knows(other), INLIERS.answers, OUTLIERS.data)  # type: ignore[arg-type]


def test_outliers_that_cannot_be_read_are_refused() -> None:
    check_outliers(OUTLIERS.data, INLIERS.data)
    colour = evaluation(5, shape=(32, 32, 3)).data
    with pytest.raises(UserError, match=r"images of \[32, 32, 3\], but those of made-up are of \[28, 28\]; name"):
        check_outliers(colour, INLIERS.data)
    with pytest.raises(UserError, match="The split test of made-up holds no images; name other --outliers"):
        check_outliers(OUTLIERS.data.first(0), INLIERS.data)
