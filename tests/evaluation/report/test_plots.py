import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from clustnet.bundles.groups import UNKNOWN, CoarseGrouping
from clustnet.scores.reference_budget import ReferenceBudget
from clustnet.scores.scores import clustering_accuracy
from evaluation.report import figures, plots
from evaluation.report.figures import DARK, MAX_NAME_CHARACTERS, WIDTH_INCHES, png, short
from evaluation.report.reference_budget import DRAWS
from evaluation.report.report_plots import plots_of
from evaluation.report.scoring import Evaluation
from tests.evaluation.made_up import GROUPINGS, THIRDS, WHOLE, Known, complete, evaluation

THINGS = ("airplane", "automobile", "bird", "a class with a long name, for $x_ or $y^")
COLOUR = CoarseGrouping(("machines", "animals"), ((0, 1), (2, 3)))
each_grouping = pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda grouping: str(len(grouping.labels)))


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


def ticks(figure: Figure, axis: str) -> list[str]:
    return [text.get_text() for text in getattr(figure.axes[0], f"get_{axis}ticklabels")()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def check_drawn(figure: Figure) -> None:
    with Image.open(io.BytesIO(png(figure))) as image:
        assert image.format == "PNG"
        assert image.width == WIDTH_INCHES * figures.DPI


def test_confusion_counts_are_scikit_learns() -> None:
    made = evaluation(400)
    figure = plots.confusion_plot(made)
    expected = confusion_matrix(made.data.fine, made.answers.guess, labels=range(10))
    np.testing.assert_array_equal(table(figure, (10, 10)), expected)
    assert ticks(figure, "x") == ticks(figure, "y") == list(made.data.classes)
    share = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(share.sum(axis=1), 1)


@pytest.mark.parametrize("grouping", GROUPINGS[1:], ids=["2", "3"])
def test_coarse_confusion_counts_are_scikit_learns(grouping: CoarseGrouping) -> None:
    made, labels = evaluation(400, grouping=grouping, known="some"), range(len(grouping.labels))
    known = made.data.coarse != UNKNOWN
    figure = plots.coarse_plot(made)
    expected = confusion_matrix(made.data.coarse[known], made.answers.coarse[known], labels=labels)
    np.testing.assert_array_equal(table(figure, (len(labels), len(labels))), expected)
    assert ticks(figure, "x") == ticks(figure, "y") == list(grouping.labels)


@pytest.mark.parametrize(("grouping", "group"), [(g, k) for g in GROUPINGS for k in range(len(g.labels))])
def test_the_diagonal_of_a_group_is_its_accuracy(grouping: CoarseGrouping, group: int) -> None:
    made = evaluation(400, grouping=grouping)
    found = table(plots.group_plot(made, group=group), (len(grouping.groups[group]), 5))
    of_group = made.data.coarse == group
    accuracy = clustering_accuracy(made.answers.expert[of_group], made.data.fine[of_group])
    assert found.trace() / found.sum() == pytest.approx(accuracy)
    assert found.sum() == of_group.sum()


@each_grouping
def test_bars_of_subtypes_count_each_image(grouping: CoarseGrouping) -> None:
    made = evaluation(400, grouping=grouping, known="coarse")
    figure = plots.subtype_plot(made)
    own = grouping.coarse(made.answers.guess) == made.data.coarse
    right, *others = figure.axes[0].containers
    widths = [bar.get_width() for bar in right]
    np.testing.assert_array_equal(widths, np.bincount(made.answers.guess[own], minlength=10))
    assert sum(bar.get_width() for bars in others for bar in bars) == 400 - own.sum()
    assert [text.get_text() for text in figure.axes[0].texts] == [
        str(count) for count in np.bincount(made.answers.guess, minlength=10)
    ]
    assert ticks(figure, "y") == list(made.data.classes)


def test_the_legend_of_subtypes_names_what_is_there() -> None:
    assert legend(plots.subtype_plot(evaluation(known="nothing"))) == ["coarse label not known"]
    named = ["of the subtype's coarse label", "of another coarse label", "coarse label not known"]
    assert legend(plots.subtype_plot(evaluation(known="some"))) == named
    assert not plots.subtype_plot(evaluation(grouping=WHOLE, known="nothing")).legends


@pytest.mark.parametrize("known", ["fine", "coarse"])
def test_experts_get_shares_of_each_truth(known: Known) -> None:
    made = evaluation(400, grouping=THIRDS, known=known)
    truth, names = (made.data.fine, made.data.classes) if known == "fine" else (made.data.coarse, THIRDS.labels)
    figure = plots.expert_plot(made)
    share = figure.axes[0].images[0].get_array()
    expected = confusion_matrix(truth, made.answers.expert, labels=range(max(5, len(names))), normalize="true")
    np.testing.assert_allclose(share, expected[: len(names), :5].T)
    np.testing.assert_array_equal(table(figure, (5, len(names))), np.rint(100 * share))
    assert ticks(figure, "y")[0] == f"0  ({np.mean(made.answers.expert == 0):.0%})"
    assert ticks(figure, "x") == list(names)


def test_the_histogram_counts_each_image_once() -> None:
    made = evaluation(400)
    everything, wrong = plots.certainty_plot(made).axes[0].containers
    assert sum(bar.get_height() for bar in everything) == 400
    assert sum(bar.get_height() for bar in wrong) == (made.answers.guess != made.data.fine).sum()
    assert legend(plots.certainty_plot(evaluation(400, known="nothing"))) == ["all 400 images"]


def test_failures_are_the_surest_wrong_guesses() -> None:
    made = evaluation(400)
    found = np.array([mistake.place for mistake in made.tally.mistakes])
    assert len(found) == 20
    probability = made.answers.guess_probability[found]
    assert (made.answers.guess[found] != made.data.fine[found]).all()
    assert (np.diff(probability) <= 0).all()
    others = np.setdiff1d(np.flatnonzero(made.answers.guess != made.data.fine), found)
    assert made.answers.guess_probability[others].max() <= probability.min()
    figure = plots.failure_plot(made)
    assert len(figure.axes[0].images) == 20
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), made.data.images[found[0]])
    shown = [text.get_text() for text in figure.axes[0].texts[:3]]
    true, guess = made.data.fine[found[0]], made.answers.guess[found[0]]
    assert shown == [f"true {true}", f"guess {guess}", f"{probability[0]:.1%}"]


def test_failures_without_classes_name_coarse_labels() -> None:
    made = evaluation(400, known="coarse")
    first = made.tally.mistakes[0]
    shown = [text.get_text() for text in plots.failure_plot(made).axes[0].texts[:2]]
    label = made.info.grouping.labels[made.data.coarse[first.place]]
    assert shown == [f"true {label}", f"guess {first.guess}"]


@pytest.mark.parametrize(("shape", "scale"), [((28, 28), "gray_r"), ((32, 32), "gray")])
def test_only_drawings_are_shown_on_white(shape: tuple[int, int], scale: str) -> None:
    assert plots.failure_plot(evaluation(shape=shape)).axes[0].images[0].get_cmap().name == scale


def test_no_failures_say_so() -> None:
    figure = plots.failure_plot(evaluation(perfect=True))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no wrong guesses"]


@pytest.mark.parametrize("coarse", [False, True])
def test_reliability_bars_are_those_of_scikit_learn(coarse: bool) -> None:
    made = evaluation(400)
    answers, data = made.answers, made.data
    right, probability = answers.guess == data.fine, answers.guess_probability
    found = made.tally.class_reliability
    if coarse:
        right, probability = answers.coarse == data.coarse, answers.coarse_probability.max(axis=1)
        found = made.tally.coarse_reliability
    figure = plots.reliability_plot(found, "probability")
    upper, lower = figure.axes
    images = np.array([bar.get_height() for bar in lower.patches])
    accuracy = np.array([bar.get_height() for bar in upper.patches])
    expected, _ = calibration_curve(right, probability, n_bins=15)
    np.testing.assert_allclose(accuracy[images > 0], expected)
    np.testing.assert_array_equal(images, np.histogram(probability, np.linspace(0, 1, 16))[0])
    error = made.scores["coarse_calibration_error" if coarse else "calibration_error"]
    assert upper.get_title(loc="left") == f"calibration error {error:.4f}"


def test_both_histograms_of_outliers_add_to_100() -> None:
    made = complete(evaluation(300), evaluation(70, seed=1))
    assert made.outliers is not None
    figure = plots.outlier_plot(made.outliers)
    inliers, line = figure.axes[0].containers[0], figure.axes[0].patches[-1]
    assert sum(bar.get_height() for bar in inliers) == pytest.approx(100)
    # The line is a step, with each level at both of its ends.
    heights = line.get_xy()[:, 1]
    assert heights[1:-1:2].sum() == pytest.approx(100)
    assert legend(figure) == ["300 evaluated images", "70 outliers"]


def budget(per_class: tuple[int, ...]) -> ReferenceBudget:
    accuracy = np.random.default_rng(0).uniform(0.5, 0.9, (len(per_class), DRAWS))
    return ReferenceBudget("made-up:train", per_class, accuracy)


def test_the_budget_line_is_the_mean() -> None:
    made = budget((1, 10, 1000))
    axes = plots.budget_plot(made, 0.95).axes[0]
    means, shipped = axes.lines
    np.testing.assert_allclose(means.get_xydata(), np.stack([(1, 10, 1000), made.accuracy.mean(axis=1)], axis=1))
    assert set(shipped.get_ydata()) == {0.95}
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (made.accuracy.min(), made.accuracy.max())
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", "1,000"]
    low, high = axes.get_ylim()
    assert low < band.min() < 0.95 < high


@pytest.mark.parametrize("per_class", [(1,), (1, 2, 5, 10, 50, 100)])
def test_any_budgets_are_drawn(per_class: tuple[int, ...]) -> None:
    check_drawn(plots.budget_plot(budget(per_class), 1.0, DARK))


def test_long_names_lose_their_middle() -> None:
    assert short("x" * MAX_NAME_CHARACTERS) == "x" * MAX_NAME_CHARACTERS
    assert short("defect/scratch deep") == "defect/sc…tch deep"
    assert short("0123456789abc", 10) == "01234…9abc"


MADE = {
    "one image": evaluation(1),
    "no failures": evaluation(perfect=True),
    "one expert": evaluation(experts=1),
    "twenty experts": evaluation(experts=20),
    "colour": evaluation(classes=THINGS, grouping=COLOUR, shape=(32, 32, 3)),
    "one coarse label": evaluation(grouping=WHOLE, known="some"),
    "three coarse labels": evaluation(grouping=THIRDS, known="coarse"),
    "no truth": evaluation(grouping=THIRDS, known="nothing"),
}


@pytest.mark.usefixtures("small_plots")
@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_every_plot_of_any_evaluation_is_drawn(made: Evaluation) -> None:
    for plot in plots_of(complete(made, made) if made.tally.known_classes else made):
        check_drawn(plot.draw(DARK))


def files(made: Evaluation) -> list[str]:
    return [plot.file.removesuffix(".png") for plot in plots_of(made)]


def groups(count: int) -> Iterator[str]:
    yield from (f"confusion_group_{group}" for group in range(count))


ROUTING = ["experts", "certainty"]
CALIBRATED = ["reliability", "reliability_coarse"]


@pytest.mark.parametrize(
    ("grouping", "known", "expected"),
    [
        (WHOLE, "fine", ["confusion", "failures", *groups(1), *ROUTING, "reliability"]),
        (WHOLE, "nothing", ["subtypes", "certainty"]),
        (THIRDS, "nothing", ["subtypes", "certainty"]),
        (THIRDS, "coarse", ["subtypes", "confusion_coarse", "failures", *ROUTING, "reliability_coarse"]),
        (THIRDS, "fine", ["confusion", "confusion_coarse", "failures", *groups(3), *ROUTING, *CALIBRATED]),
        (THIRDS, "some", ["confusion", "subtypes", "confusion_coarse", "failures", *groups(3), *ROUTING, *CALIBRATED]),
    ],
)
def test_a_report_has_the_plots_of_its_truth(grouping: CoarseGrouping, known: Known, expected: list[str]) -> None:
    assert files(evaluation(200, grouping=grouping, known=known)) == expected


def test_titles_name_labels_as_they_are() -> None:
    wild = CoarseGrouping(("{0}", "{}%s"), COLOUR.groups)
    found = [plot.title for plot in plots_of(evaluation(classes=THINGS, grouping=wild))]
    assert [title for title in found if re.search("within", title)] == [
        "Classes and experts within {0}",
        "Classes and experts within {}%s",
    ]
