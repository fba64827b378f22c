from evaluation.report.outliers import OUTLIER_SCORES
from evaluation.report.summary import summary
from tests.evaluation.made_up import complete, evaluation


def test_only_what_was_asked_for_is_told() -> None:
    made = evaluation()
    lines = list(summary(made))
    assert lines[0] == "made-up 1 on 40 images of made-up:test"
    assert len(lines) == 1 + len(made.scores)


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
    assert rows[0].endswith(f"min {first.min():.2%}  max {first.max():.2%}")
