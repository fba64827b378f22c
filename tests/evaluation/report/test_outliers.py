import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from clustnet.bundles.answers import Answers
from clustnet.errors import UserError
from evaluation.report.outliers import OUTLIER_SCORES, check_outliers, compare_outliers
from evaluation.report.scoring import Evaluation
from tests.evaluation.made_up import THIRDS, WHOLE, evaluation

INLIERS = evaluation(60, perfect=True)
OUTLIERS = evaluation(50, seed=1)


class Knows:
    """A source that has one answer to everything."""

    def __init__(self, made: Evaluation) -> None:
        self.info, self.answers = made.info, made.answers

    def answer(self, images: np.ndarray) -> Answers:
        return self.answers


@pytest.mark.parametrize("made", [OUTLIERS, evaluation(50, grouping=THIRDS)], ids=["2", "3"])
def test_each_score_is_what_it_says(made: Evaluation) -> None:
    answers = made.answers
    found = {key: score.of(answers) for key, score in OUTLIER_SCORES.items()}
    top = answers.coarse_probability.max(axis=1)
    np.testing.assert_array_equal(found["confidence"], answers.confidence)
    np.testing.assert_array_equal(found["guess"], answers.class_probability[np.arange(50), answers.guess])
    np.testing.assert_allclose(found["class_entropy"], -entropy(answers.class_probability, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["routing_entropy"], -entropy(answers.routing, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found["coarse"], top)
    np.testing.assert_array_equal(found["cell"], answers.routing.max(axis=1) * top)


def test_the_areas_are_those_of_scikit_learn() -> None:
    found = compare_outliers(Knows(OUTLIERS), INLIERS.answers, OUTLIERS.data)  # type: ignore[arg-type]
    truth = [1] * 60 + [0] * 50
    for key, score in OUTLIER_SCORES.items():
        values = [*score.of(INLIERS.answers), *score.of(OUTLIERS.answers)]
        assert found.auroc[key] == pytest.approx(roc_auc_score(truth, values))
    assert found.abstained == pytest.approx((OUTLIERS.answers.confidence < 0.6).mean())
    # The inliers are certain, the outliers are not.
    assert found.auroc["guess"] == 1


def test_the_same_images_cannot_be_separated() -> None:
    found = compare_outliers(Knows(INLIERS), INLIERS.answers, INLIERS.data)  # type: ignore[arg-type]
    assert found.auroc == pytest.approx(dict.fromkeys(OUTLIER_SCORES, 0.5))


def test_one_coarse_label_separates_nothing() -> None:
    made = evaluation(30, grouping=WHOLE)
    found = compare_outliers(Knows(made), made.answers, made.data)  # type: ignore[arg-type]
    assert set(found.auroc) == set(OUTLIER_SCORES) - {"coarse"}


def test_outliers_that_cannot_be_read_are_refused() -> None:
    check_outliers(OUTLIERS.data, INLIERS.data)
    colour = evaluation(5, shape=(32, 32, 3)).data
    with pytest.raises(UserError, match=r"images of \[32, 32, 3\], but those of made-up are of \[28, 28\]; name"):
        check_outliers(colour, INLIERS.data)
    with pytest.raises(UserError, match="The split test of made-up holds no images; name other --outliers"):
        check_outliers(OUTLIERS.data.first(0), INLIERS.data)
