import io

import numpy as np
import pytest
from PIL import Image

from evaluation.report import plots
from evaluation.report.budget_plot import budget_plot
from evaluation.report.reference_budget import DRAWS, ReferenceBudget


def made(per_class: tuple[int, ...]) -> ReferenceBudget:
    accuracy = np.random.default_rng(0).uniform(0.5, 0.9, (len(per_class), DRAWS))
    return ReferenceBudget("made-up:train", per_class, accuracy)


def test_the_line_is_the_mean_within_its_range() -> None:
    budget = made((1, 10, 1000))
    axes = budget_plot(budget, 0.95).axes[0]
    means, shipped = axes.lines
    np.testing.assert_allclose(means.get_xydata(), np.stack([(1, 10, 1000), budget.accuracy.mean(axis=1)], axis=1))
    assert set(shipped.get_ydata()) == {0.95}
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (budget.accuracy.min(), budget.accuracy.max())
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", "1,000"]
    low, high = axes.get_ylim()
    assert low < band.min() < 0.95 < high


@pytest.mark.parametrize("per_class", [(1,), (1, 2, 5, 10, 50, 100)])
def test_it_is_drawn_for_any_budgets(per_class: tuple[int, ...]) -> None:
    with Image.open(io.BytesIO(plots.png(budget_plot(made(per_class), 1.0, plots.DARK)))) as image:
        assert image.width == plots.WIDTH * plots.DPI
