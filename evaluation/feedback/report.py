"""The report on feedback: scores, a line for each image, and one page that shows them all."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evaluation.feedback.scoring import NO_SAMPLE, ClassShare, FeedbackScores, Share
from evaluation.report import plots
from evaluation.report.pages import data_url, render, replacing_report
from evaluation.report.reliability_plots import reliability_plot
from evaluation.report.report import IMAGES, PAGE, SCORES, check_replaceable

TEMPLATE = "feedback.html"
NAMES = {
    "class_accuracy": "Class accuracy",
    "binary_accuracy": "Coarse accuracy",
    "class_accuracy_without_abstained": "Class accuracy where it did not abstain",
    "abstained": "Abstained",
}


def write_feedback_report(path: Path, scores: Sequence[FeedbackScores], folder: Path) -> None:
    """Write the report on the feedback file ``path``; the folder appears whole or not at all.

    Raises:
        UserError: the folder holds something else than an earlier report, or cannot be written.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    with replacing_report(folder) as temporary:
        (temporary / SCORES).write_text(feedback_json(path, scores), encoding="utf-8")
        (temporary / IMAGES).write_text(feedback_csv(scores), encoding="utf-8")
        (temporary / PAGE).write_text(_page(path, scores), encoding="utf-8")


def feedback_json(path: Path, scores: Sequence[FeedbackScores]) -> str:
    """Return the scores of all models."""
    content = {"feedback": str(path), "caution": NO_SAMPLE, "models": [_model_json(found) for found in scores]}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def feedback_csv(scores: Sequence[FeedbackScores]) -> str:
    """Return one line for each image, with all that the scores are computed from."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["model", "version", "request_id", "image", "true_class", *asdict(scores[0].rows[0].answer), "told"]
    )
    for found in scores:
        for row in found.rows:
            answer = asdict(row.answer) | {"answered": _time(row.answer.answered), "abstain": int(row.answer.abstain)}
            named = found.labels.name, found.labels.version, row.request_id, row.image, row.label
            writer.writerow([*named, *answer.values(), _time(row.given)])
    return text.getvalue()


def feedback_summary(scores: Sequence[FeedbackScores]) -> Iterator[str]:
    """Yield the lines that ``clustnet evaluate --feedback`` prints."""
    for found in scores:
        yield _title(found)
        for key, share in _shares(found).items():
            yield f"  {NAMES[key]:<40}{_percent(share.value):>8}  {_interval(share)}"
        yield f"  {'Mean class probability':<40}{found.mean_class_probability:>8.2%}"
        yield f"  {'Calibration error':<40}{found.reliability.error:>8.4f}"
        yield f"  {'class':<12}{'images':>8}{'found':>10}  95% interval        {'guesses':>8}{'true':>10}"
        for row in found.classes():
            yield (
                f"  {row.name:<12}{row.recall.images:>8,}{_percent(row.recall.value):>10}  {_range(row.recall):<20}"
                f"{row.precision.images:>8,}{_percent(row.precision.value):>10}"
            )
    yield NO_SAMPLE


def _shares(found: FeedbackScores) -> dict[str, Share]:
    shares = found.accuracy, found.coarse_accuracy, found.accuracy_without_abstained, found.abstained
    named = dict(zip(NAMES, shares, strict=True))
    if not found.labels.grouping().divided:
        del named["binary_accuracy"]
    return named


def _model_json(found: FeedbackScores) -> dict[str, Any]:
    return {
        "model": {"name": found.labels.name, "version": found.labels.version},
        "images": len(found.rows),
        "first": found.first.isoformat(timespec="seconds"),
        "last": found.last.isoformat(timespec="seconds"),
        "scores": {key: _share_json(share) for key, share in _shares(found).items()},
        "mean_class_probability": found.mean_class_probability,
        "calibration_error": found.reliability.error,
        "classes": {row.name: _class_json(row) for row in found.classes()},
        "confusion": found.confusion.tolist(),
    }


def _share_json(share: Share) -> dict[str, Any]:
    value = None if math.isnan(share.value) else share.value
    return {"value": value, "interval": list(share.interval), "right": share.right, "images": share.images}


def _class_json(row: ClassShare) -> dict[str, Any]:
    return {"recall": _share_json(row.recall), "precision": _share_json(row.precision)}


def _page(path: Path, scores: Sequence[FeedbackScores]) -> str:
    return render(TEMPLATE, path=path, models=[_shown(found) for found in scores], caution=NO_SAMPLE)


def _shown(found: FeedbackScores) -> dict[str, Any]:
    """Return what the page shows of a model."""
    shares = _shares(found).items()
    return {
        "title": _title(found),
        "tiles": [(NAMES[key], _percent(share.value), _interval(share)) for key, share in shares],
        "others": [
            ("Mean class probability", f"{found.mean_class_probability:.2%}"),
            ("Calibration error", f"{found.reliability.error:.4f}"),
        ],
        "classes": [
            (row.name, f"{share.images:,}", _percent(share.value), _range(share), f"{row.precision.images:,}")
            for row in found.classes()
            for share in [row.recall]
        ],
        "plots": [
            _plot(
                "Which class is taken for which",
                "Images of each true class (row) by the model's guess (column).",
                lambda theme: plots.confusion_heatmap(found.confusion, found.labels.classes, theme),
            ),
            _plot(
                "Whether the guess's probability is honest",
                "Accuracy of the guess by its probability, in 15 bins; below: how many images a bin holds.",
                lambda theme: reliability_plot(found.reliability, theme),
            ),
        ],
    }


def _plot(title: str, text: str, draw: Callable[[plots.Theme], Figure]) -> dict[str, str]:
    light, dark = (data_url(plots.png(draw(theme))) for theme in (plots.LIGHT, plots.DARK))
    return {"title": title, "text": text, "light": light, "dark": dark}


def _title(found: FeedbackScores) -> str:
    images, name = f"{len(found.rows):,} images", f"{found.labels.name} {found.labels.version}"
    return f"{name}: feedback on {images} that were asked from {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"


def _interval(share: Share) -> str:
    return f"{share.right:,} of {share.images:,}, 95% interval {_range(share)}"


def _range(share: Share) -> str:
    low, high = share.interval
    return f"{low:.2%} to {high:.2%}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2%}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
