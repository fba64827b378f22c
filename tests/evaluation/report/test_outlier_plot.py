import io
from dataclasses import replace

import pytest
from PIL import Image

from evaluation.report import plots
from evaluation.report.outlier_plot import outlier_plot
from evaluation.report.scoring import Evaluation
from tests.evaluation.made_up import complete, evaluation


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
def test_it_is_drawn_whatever_the_evaluation(made: Evaluation) -> None:
    outliers = complete(made, replace(made)).outliers
    assert outliers is not None
    with Image.open(io.BytesIO(plots.png(outlier_plot(outliers, plots.DARK)))) as image:
        assert image.width == plots.WIDTH * plots.DPI
