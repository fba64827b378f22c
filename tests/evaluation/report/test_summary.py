from clustnet.scores.left_out import left_out
from evaluation.report.outliers import OUTLIER_SCORES
from evaluation.report.summary import summary
from tests.evaluation.made_up import complete, evaluation


def test_only_what_was_requested_is_printed() -> None:
    made = evaluation()
    lines = list(summary(made))
    assert lines[0] == "made-up 1 on 40 images of made-up:test"
    assert len(lines) == 1 + len(made.scores)


def test_what_is_left_out_follows_the_scores() -> None:
    made = evaluation(30, known="coarse")
    lines = list(summary(made))
    assert lines[1 + len(made.scores) :] == list(left_out(made.scores, made.info.grouping.labels))
    assert "nan" not in "".join(lines)
    some = list(summary(evaluation(30, known="some")))
    assert some[-2:] == [
        "Scores that need the true class count the 10 of 30 images for which it is known.",
        "Scores that need the true coarse label count the 20 of 30 images for which it is known.",
    ]


def test_the_rest_follows_the_scores() -> None:
    made = complete(evaluation(), evaluation(30, seed=1))
    assert made.outliers is not None
    assert made.budget is not None
    lines = list(summary(made))[1 + len(made.scores) :]
    assert lines[0] == "AUROC against 30 outliers of made-up:test"
    areas = made.outliers.auroc.values()
    for line, score, area in zip(lines[1:], OUTLIER_SCORES.values(), areas, strict=False):
        assert line.split() == [*score.title.split(), f"{area:.4f}"]
    abstained, heading, *rows = lines[1 + len(OUTLIER_SCORES) :]
    assert abstained == "Abstained from 25.00% of them"
    assert heading == "Class accuracy by labelled images of each class, 20 draws from made-up:train"
    assert [int(row.split()[0]) for row in rows] == [1, 10, 100]
    first = made.budget.accuracy[0]
    assert f"mean {first.mean():.2%}" in rows[0]
    assert rows[0].endswith(f"lowest {first.min():.2%}  highest {first.max():.2%}")
