"""What ``clustnet evaluate`` prints of an evaluation."""

from collections.abc import Iterator

from clustnet.scores.meanings import meaning, shown
from evaluation.files.unread import UNREAD
from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.reference_budget import DRAWS, ReferenceBudget
from evaluation.report.scoring import Evaluated, FileEvaluation


def summary(evaluation: Evaluated) -> Iterator[str]:
    """Yield the lines of the scores and of whatever else was asked for."""
    name, version = evaluation.model
    data = evaluation.data
    yield f"{name} {version} on {len(data):,} images of {data.name}" + (f":{data.split}" if data.split else "")
    yield from _aligned([(meaning(key).title, shown(key, value)) for key, value in evaluation.scores.items()])
    if evaluation.outliers is not None:
        yield from _outliers(evaluation.outliers)
    if evaluation.budget is not None:
        yield from _budget(evaluation.budget)
    if isinstance(evaluation, FileEvaluation) and evaluation.unread.total:
        yield f"not read: {evaluation.unread.total:,} files or images, see {UNREAD} in the report's folder"


def _outliers(outliers: Outliers) -> Iterator[str]:
    data = outliers.data
    yield f"AUROC against {len(data):,} outliers of {data.name}:{data.split}"
    yield from _aligned([(OUTLIER_SCORES[key].title, f"{area:.4f}") for key, area in outliers.auroc.items()])
    yield f"Abstained from {outliers.abstained:.2%} of them"


def _budget(budget: ReferenceBudget) -> Iterator[str]:
    yield f"Class accuracy by labelled images of each class, {DRAWS} draws from {budget.training}"
    for row in budget.rows():
        spread = "  ".join(f"{key} {row[key]:.2%}" for key in ("mean", "sd", "min", "max"))
        yield f"  {row['per_class']:>6,}  {spread}"


def _aligned(rows: list[tuple[str, str]]) -> Iterator[str]:
    width = max(len(title) for title, _ in rows)
    for title, value in rows:
        yield f"  {title:<{width}}  {value:>8}"
