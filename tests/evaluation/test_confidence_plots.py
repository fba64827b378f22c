import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve

from evaluation import plots
from evaluation.confidence_plots import class_reliability_plot, coarse_reliability_plot, outlier_plot
from evaluation.scoring import Evaluation
from tests.evaluation.made_up import complete, evaluation


@pytest.mark.parametrize("draw", [class_reliability_plot, coarse_reliability_plot])
def test_the_bars_are_those_of_scikit_learn(draw: type[class_reliability_plot]) -> None:
    made = evaluation(400)
    answers, labels = made.answers, made.data.labels
    right, confidence = answers.guess == labels, answers.confidence
    if draw is coarse_reliability_plot:
        true = np.where(labels > 4, "5-9", "0-4")
        right, confidence = answers.coarse_label == true, answers.coarse_probability
    upper, lower = draw(made).axes
    images = np.array([bar.get_height() for bar in lower.patches])
    accuracy = np.array([bar.get_height() for bar in upper.patches])
    expected, _ = calibration_curve(right, confidence, n_bins=15)
    np.testing.assert_allclose(accuracy[images > 0], expected)
    np.testing.assert_array_equal(images, np.histogram(confidence, np.linspace(0, 1, 16))[0])


def test_the_diagram_tells_the_error_of_the_table() -> None:
    made = evaluation(400)
    error = made.scores["calibration_error"]
    assert class_reliability_plot(made).axes[0].get_title(loc="left") == f"calibration error {error:.4f}"


def test_both_histograms_add_up_to_a_hundred() -> None:
    made = complete(evaluation(300), evaluation(70, seed=1))
    assert made.outliers is not None
    figure = outlier_plot(made.outliers)
    inliers, line = figure.axes[0].containers[0], figure.axes[0].patches[-1]
    assert sum(bar.get_height() for bar in inliers) == pytest.approx(100)
    heights = line.get_xy()[:, 1]  # a step, each level at both of its ends
    assert heights[1:-1:2].sum() == pytest.approx(100)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["300 evaluated images", "70 outliers"]


@pytest.mark.parametrize("made", [evaluation(1), evaluation(20, perfect=True)], ids=["one image", "certain"])
def test_every_plot_is_drawn_whatever_the_evaluation(made: Evaluation) -> None:
    outliers = complete(made, replace(made)).outliers
    assert outliers is not None
    figures = [outlier_plot(outliers, plots.DARK), class_reliability_plot(made, plots.DARK)]
    for figure in [*figures, coarse_reliability_plot(made, plots.DARK)]:
        with Image.open(io.BytesIO(plots.png(figure))) as image:
            assert image.width == plots.WIDTH * plots.DPI
