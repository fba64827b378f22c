"""What ``clustnet evaluate`` prints of an evaluation."""

from collections.abc import Iterator

from clustnet.scores.reference_budget import ReferenceBudget
from clustnet.scores.registry import shown, title
from evaluation.files.evaluation import FileEvaluation
from evaluation.files.unread import UNREAD
from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.report import notes
from evaluation.report.scoring import Evaluated


def summary(evaluation: Evaluated) -> Iterator[str]:
    """Yield the lines of the scores, of what is left out, and of whatever else was requested."""
    name, version = evaluation.info.model
    data = evaluation.data
    yield f"{name} {version} on {len(data):,} images of {data.name}" + (f":{data.split}" if data.split else "")
    yield from _aligned([(title(key), shown(key, value)) for key, value in evaluation.scores.items()])
    yield from notes(evaluation)
    if evaluation.outliers is not None:
        yield from _outliers(evaluation.outliers)
    if evaluation.budget is not None:
        yield from _budget(evaluation.budget)
    if isinstance(evaluation, FileEvaluation) and evaluation.unread.total:
        yield f"not read: {evaluation.unread.total:,} files or images, see {UNREAD} in the report's folder"


def _outliers(outliers: Outliers) -> Iterator[str]:
    """Yield the lines of outliers."""
    data = outliers.data
    yield f"AUROC against {len(data):,} outliers of {data.name}:{data.split}"
    yield from _aligned([(OUTLIER_SCORES[key].title, f"{area:.4f}") for key, area in outliers.auroc.items()])
    yield f"Abstained from {outliers.abstained:.2%} of them"


def _budget(budget: ReferenceBudget) -> Iterator[str]:
    """Yield the lines of the reference budget."""
    yield f"Class accuracy by labelled images of each class, {budget.draws} draws from {budget.data}"
    for row in budget.rows():
        spread = f"mean {row.mean:.2%}  sd {row.sd:.2%}  lowest {row.least:.2%}  highest {row.greatest:.2%}"
        yield f"  {row.per_class:>6,}  {spread}"


def _aligned(rows: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of titles and values in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        yield f"  {name:<{width}}  {value:>8}"
