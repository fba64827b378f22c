"""The report on feedback: scores, a line for each image, and one page that shows them all."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from clustnet.pages.rendering import render
from clustnet.scores.registry import shown, title
from evaluation.feedback.scoring import NO_SAMPLE, ClassShare, FeedbackScores, Share
from evaluation.report import plots
from evaluation.report.pages import csv_text, replacing_report
from evaluation.report.report import IMAGES, PAGE, SCORES, check_replaceable, drawn
from evaluation.report.report_plots import CONFUSION, RELIABILITY, Plot

TEMPLATE = "feedback.html"


def write_feedback_report(path: Path, scores: Sequence[FeedbackScores], folder: Path) -> None:
    """Write the report on the feedback file ``path``; the folder appears whole or not at all.

    Raises:
        UserError: the folder holds anything but an earlier report, or cannot be written.
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
    answer = asdict(scores[0].rows[0].answer)
    rows: list[list[object]] = [["model", "version", "request_id", "image", "true_class", *answer, "given"]]
    for found in scores:
        for row in found.rows:
            answer = asdict(row.answer) | {"answered": _time(row.answer.answered), "abstain": int(row.answer.abstain)}
            named = found.labels.name, found.labels.version, row.request_id, row.image, row.label
            rows.append([*named, *answer.values(), _time(row.given)])
    return csv_text(rows)


def feedback_summary(scores: Sequence[FeedbackScores]) -> Iterator[str]:
    """Yield the lines that ``clustnet evaluate --feedback`` prints."""
    for found in scores:
        yield _heading(found)
        for key, share in _shares(found).items():
            yield f"  {title(key):<40}{_percent(share.value):>8}  {_interval(share)}"
        for key, value in _others(found).items():
            yield f"  {title(key):<40}{shown(key, value):>8}"
        width = max(12, *(len(name) + 2 for name in found.labels.classes))
        yield f"  {'class':<{width}}{'images':>8}{'found':>10}  95% interval        {'guesses':>8}{'true':>10}"
        for row in found.classes():
            recall = f"{row.recall.images:>8,}{_percent(row.recall.value):>10}  {_range(row.recall):<20}"
            precision = f"{row.precision.images:>8,}{_percent(row.precision.value):>10}"
            yield f"  {row.name:<{width}}{recall}{precision}"
    yield NO_SAMPLE


def _shares(found: FeedbackScores) -> dict[str, Share]:
    """Return the scores that are shares of images, by their names; a single coarse label has no accuracy."""
    return {
        "class_accuracy": found.accuracy,
        **({"coarse_accuracy": found.coarse_accuracy} if found.labels.grouping().divided else {}),
        "class_accuracy_without_abstained": found.accuracy_without_abstained,
        "abstained": found.abstained,
    }


def _others(found: FeedbackScores) -> dict[str, float]:
    """Return the other scores, by their names."""
    return {
        "mean_class_probability": found.mean_class_probability,
        "calibration_error": found.reliability.error,
    }


def _model_json(found: FeedbackScores) -> dict[str, Any]:
    """Return a model's scores, ready for JSON."""
    return {
        "model": {"name": found.labels.name, "version": found.labels.version},
        "images": len(found.rows),
        "first": found.first.isoformat(timespec="seconds"),
        "last": found.last.isoformat(timespec="seconds"),
        "scores": {key: _share_json(share) for key, share in _shares(found).items()},
        **_others(found),
        "classes": {row.name: _class_json(row) for row in found.classes()},
        "confusion": found.confusion.tolist(),
    }


def _share_json(share: Share) -> dict[str, Any]:
    """Return a share, ready for JSON; its value is null for no images."""
    value = None if math.isnan(share.value) else share.value
    return {"value": value, "interval": list(share.interval), "right": share.right, "images": share.images}


def _class_json(row: ClassShare) -> dict[str, Any]:
    """Return a class, ready for JSON."""
    return {"recall": _share_json(row.recall), "precision": _share_json(row.precision)}


def _page(path: Path, scores: Sequence[FeedbackScores]) -> str:
    """Return the page."""
    return render("evaluation", TEMPLATE, path=path, models=[_shown(found) for found in scores], caution=NO_SAMPLE)


def _shown(found: FeedbackScores) -> dict[str, Any]:
    """Return what the page shows of a model."""
    shares = _shares(found).items()
    return {
        "title": _heading(found),
        "tiles": [(title(key), _percent(share.value), _interval(share)) for key, share in shares],
        "others": [(title(key), shown(key, value)) for key, value in _others(found).items()],
        "classes": [
            (row.name, f"{share.images:,}", _percent(share.value), _range(share), f"{row.precision.images:,}")
            for row in found.classes()
            for share in [row.recall]
        ],
        "plots": [drawn(plot)[1] for plot in _plots(found)],
    }


def _plots(found: FeedbackScores) -> Iterator[Plot]:
    """Yield the plots of a model."""
    yield Plot(
        CONFUSION,
        "Which class is mistaken for which",
        "Images of each true class (row) by the model's guess (column).",
        partial(plots.confusion_heatmap, found.confusion, found.labels.classes, ("true class", "guess")),
    )
    yield Plot(
        RELIABILITY,
        "Whether the guess's probability is honest",
        "Accuracy of the guess by its probability, in 15 bins; below: how many images each bin holds.",
        partial(plots.reliability_plot, found.reliability, "probability of the guess"),
    )


def _heading(found: FeedbackScores) -> str:
    """Return what a model's scores are about."""
    images, name = f"{len(found.rows):,} images", f"{found.labels.name} {found.labels.version}"
    return f"{name}: feedback on {images} that were answered from {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"


def _interval(share: Share) -> str:
    """Return the counts of a share and its interval, in words."""
    return f"{share.right:,} of {share.images:,}, 95% interval {_range(share)}"


def _range(share: Share) -> str:
    """Return a share's interval in percent."""
    low, high = share.interval
    return f"{low:.2%} to {high:.2%}"


def _percent(value: float) -> str:
    """Return a share in percent, ``-`` for no images."""
    return "-" if math.isnan(value) else f"{value:.2%}"


def _time(moment: float) -> str:
    """Return a moment in ISO 8601."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
