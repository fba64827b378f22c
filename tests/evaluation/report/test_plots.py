import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import confusion_matrix

from clustnet.bundles.groups import CoarseGrouping
from clustnet.scores.scores import clustering_accuracy
from evaluation.report import plots
from evaluation.report.scoring import Evaluation
from tests.evaluation.made_up import evaluation

THINGS = ("airplane", "automobile", "bird", "a class with a long name, for $x_ or $y^")
COLOUR = CoarseGrouping(("machines", "animals"), ((0, 1), (2, 3)))


def texts(figure: Figure) -> dict[tuple[int, int], str]:
    """The texts in a heatmap's cells, by row and column."""
    found = {}
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        found[int(row), int(column)] = text.get_text()
    return found


def table(figure: Figure, shape: tuple[int, int]) -> np.ndarray:
    cells = texts(figure)
    return np.array([[int(cells.get((r, c), 0)) for c in range(shape[1])] for r in range(shape[0])])


def labels(figure: Figure, axis: str) -> list[str]:
    return [text.get_text() for text in getattr(figure.axes[0], f"get_{axis}ticklabels")()]


def test_confusion_counts_are_scikit_learns() -> None:
    made = evaluation(400)
    figure = plots.confusion_plot(made)
    expected = confusion_matrix(made.data.labels, made.answers.guess, labels=range(10))
    np.testing.assert_array_equal(table(figure, (10, 10)), expected)
    assert labels(figure, "x") == labels(figure, "y") == list(made.data.classes)
    share = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(share.sum(axis=1), 1)


@pytest.mark.parametrize("group", [0, 1])
def test_the_diagonal_of_a_group_is_its_accuracy(group: int) -> None:
    made = evaluation(400)
    found = table(plots.group_plot(made, group=group), (5, 5))
    of_group = np.isin(made.data.labels, made.grouping.groups[group])
    accuracy = clustering_accuracy(made.answers.expert[of_group], made.data.labels[of_group])
    assert found.trace() / found.sum() == pytest.approx(accuracy)
    assert found.sum() == of_group.sum()


def test_experts_share_each_class_out() -> None:
    made = evaluation(400)
    figure = plots.expert_plot(made)
    share = figure.axes[0].images[0].get_array()
    expected = confusion_matrix(made.data.labels, made.answers.expert, labels=range(10), normalize="true")
    np.testing.assert_allclose(share, expected[:, :5].T)
    np.testing.assert_array_equal(table(figure, (5, 10)), np.rint(100 * share))
    assert labels(figure, "y")[0] == f"0  ({np.mean(made.answers.expert == 0):.0%})"


def test_the_histogram_counts_each_image_once() -> None:
    made = evaluation(400)
    everything, wrong = plots.certainty_plot(made).axes[0].containers
    assert sum(bar.get_height() for bar in everything) == 400
    assert sum(bar.get_height() for bar in wrong) == (made.answers.guess != made.data.labels).sum()


def test_failures_are_wrong_and_the_surest_first() -> None:
    made = evaluation(400)
    found = np.array([mistake.place for mistake in made.tally.mistakes])
    assert len(found) == 20
    probability = made.answers.guess_probability[found]
    assert (made.answers.guess[found] != made.data.labels[found]).all()
    assert (np.diff(probability) <= 0).all()
    others = np.setdiff1d(np.flatnonzero(made.answers.guess != made.data.labels), found)
    assert made.answers.guess_probability[others].max() <= probability.min()
    figure = plots.failure_plot(made)
    assert len(figure.axes[0].images) == 20
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), made.data.images[found[0]])
    shown = [text.get_text() for text in figure.axes[0].texts[:3]]
    true, guess = made.data.labels[found[0]], made.answers.guess[found[0]]
    assert shown == [f"true {true}", f"guess {guess}", f"{probability[0]:.1%}"]


def test_no_failures_say_so() -> None:
    figure = plots.failure_plot(evaluation(perfect=True))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no wrong guesses"]


@pytest.mark.parametrize(
    "made",
    [
        evaluation(1),
        evaluation(perfect=True),
        evaluation(experts=1),
        evaluation(experts=20),
        evaluation(classes=THINGS, grouping=COLOUR, shape=(32, 32, 3)),
    ],
    ids=["one image", "no failures", "one expert", "twenty experts", "colour"],
)
def test_every_plot_is_drawn_whatever_the_evaluation(made: Evaluation) -> None:
    figures = [plots.group_plot(made, plots.DARK, group=group) for group in (0, 1)]
    draw = (plots.confusion_plot, plots.expert_plot, plots.certainty_plot, plots.failure_plot)
    for figure in figures + [plot(made, plots.DARK) for plot in draw]:
        with Image.open(io.BytesIO(plots.png(figure))) as image:
            assert image.format == "PNG"
            assert image.width == plots.WIDTH * plots.DPI
