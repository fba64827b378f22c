import io

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve

from evaluation.report import plots
from evaluation.report.reliability_plots import class_reliability_plot, coarse_reliability_plot
from evaluation.report.scoring import Evaluation
from tests.evaluation.made_up import evaluation


@pytest.mark.parametrize("draw", [class_reliability_plot, coarse_reliability_plot])
def test_the_bars_are_those_of_scikit_learn(draw: type[class_reliability_plot]) -> None:
    made = evaluation(400)
    answers, labels = made.answers, made.data.labels
    right, probability = answers.guess == labels, answers.guess_probability
    if draw is coarse_reliability_plot:
        true = np.where(labels > 4, "5-9", "0-4")
        right, probability = answers.coarse_label == true, answers.coarse_probability
    upper, lower = draw(made).axes
    images = np.array([bar.get_height() for bar in lower.patches])
    accuracy = np.array([bar.get_height() for bar in upper.patches])
    expected, _ = calibration_curve(right, probability, n_bins=15)
    np.testing.assert_allclose(accuracy[images > 0], expected)
    np.testing.assert_array_equal(images, np.histogram(probability, np.linspace(0, 1, 16))[0])


def test_the_diagram_tells_the_error_of_the_table() -> None:
    made = evaluation(400)
    error = made.scores["calibration_error"]
    assert class_reliability_plot(made).axes[0].get_title(loc="left") == f"calibration error {error:.4f}"


@pytest.mark.parametrize("made", [evaluation(1), evaluation(20, perfect=True)], ids=["one image", "certain"])
def test_every_plot_is_drawn_whatever_the_evaluation(made: Evaluation) -> None:
    for draw in (class_reliability_plot, coarse_reliability_plot):
        figure = draw(made, plots.DARK)
        with Image.open(io.BytesIO(plots.png(figure))) as image:
            assert image.width == plots.WIDTH * plots.DPI
