"""The report: scores, a line for each image, plots, and one page that shows them all."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.groups import UNKNOWN
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import check_writable, write_table
from clustnet.pages.rendering import data_url, render
from clustnet.scores.left_out import left_out, partly_known
from clustnet.scores.reference_budget import ReferenceBudget
from clustnet.scores.registry import definition, shown, title
from clustnet.scores.scores import idle_experts
from evaluation.files.evaluation import FileEvaluation, FileImages
from evaluation.files.unread import MAX_LISTED, UNREAD
from evaluation.report import figures
from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.pages import csv_text, replacing_report
from evaluation.report.report_plots import Plot, is_plot, plots_of
from evaluation.report.scoring import Evaluated, Evaluation
from evaluation.sources.sources import BATCH

SCORES, IMAGES, PAGE = "scores.json", "predictions.csv", "report.html"
# The page begins with the first four of these scores that the evaluation has.
TILES = ("class_accuracy", "coarse_accuracy", "cell_accuracy", "nmi", "abstained", "routing_entropy")
MAX_TILES = 4


def check_replaceable(folder: Path) -> None:
    """Raise if the folder is anything but an earlier report.

    Raises:
        UserError: the path is a file, or a folder that holds anything else, or it cannot be written.
    """
    for place in (folder, *folder.resolve().parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place} is a file, not a folder; name a new folder with --out.")
    names = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    others = [name for name in names if name not in (SCORES, IMAGES, PAGE, UNREAD) and not is_plot(name)]
    if others:
        raise UserError(
            f"{folder} is not an earlier report, as it holds {min(others)}, so it is not replaced; "
            "name a new folder with --out."
        )
    # The report is written beside the folder and then renamed.
    check_writable(folder.resolve().parent)


def write_report(evaluation: Evaluated, folder: Path) -> None:
    """Write the report; the folder appears whole or not at all, in the place of an earlier report.

    Raises:
        UserError: the folder holds anything but an earlier report, or cannot be written.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    with replacing_report(folder) as temporary:
        (temporary / SCORES).write_text(scores_json(evaluation), encoding="utf-8")
        _write_lines(evaluation, temporary)
        shown_plots = [_write_plot(plot, temporary) for plot in plots_of(evaluation)]
        (temporary / PAGE).write_text(_page(evaluation, shown_plots), encoding="utf-8")


def _write_lines(evaluation: Evaluated, folder: Path) -> None:
    """Write a line for each image if the images are held, otherwise one for each that could not be read."""
    if isinstance(evaluation, Evaluation):
        (folder / IMAGES).write_text(predictions_csv(evaluation), encoding="utf-8")
    elif evaluation.unread.total:
        faults = evaluation.unread.listed
        rows = [{"file": fault.file, "rows": fault.rows, "reason": fault.reason} for fault in faults]
        write_table(folder / UNREAD, rows)


def notes(evaluation: Evaluated) -> Iterator[str]:
    """Yield sentences that say which scores the data do not allow, and which count only some of the images."""
    tally, labels = evaluation.tally, evaluation.info.grouping.labels
    yield from left_out(evaluation.scores, labels)
    for known, what in ((tally.known_classes, "class"), (tally.known_coarse, "coarse label")):
        sentence = partly_known(known, len(tally), what)
        if sentence:
            yield sentence


def scores_json(evaluation: Evaluated) -> str:
    """Return the scores and what they were measured on; only ``source`` says whether it was a bundle or a service."""
    data, info, tally = evaluation.data, evaluation.info, evaluation.tally
    groups = [[info.class_names[c] for c in group] for group in info.grouping.groups]
    content: dict[str, Any] = {
        "model": info.model._asdict(),
        "data": data.name,
        "split": data.split or None,
        "images": len(data),
        "known": {"class": tally.known_classes, "coarse_label": tally.known_coarse},
        "coarse_groups": dict(zip(info.grouping.labels, groups, strict=True)),
        "scores": evaluation.scores,
        "notes": list(notes(evaluation)),
        "class_map": info.class_map,
        "source": evaluation.source,
    }
    if isinstance(evaluation, FileEvaluation):
        content["unread"] = evaluation.unread.total
    if evaluation.outliers is not None:
        content["outliers"] = _outliers_json(evaluation.outliers)
    if evaluation.budget is not None:
        content["reference_budget"] = _budget_json(evaluation.budget)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _outliers_json(outliers: Outliers) -> dict[str, Any]:
    """Return the comparison with outliers, ready for JSON."""
    data = outliers.data
    return {
        "data": data.name,
        "split": data.split,
        "images": len(data),
        "auroc": outliers.auroc,
        "abstained": outliers.abstained,
    }


def _budget_json(budget: ReferenceBudget) -> dict[str, Any]:
    """Return the reference budget, ready for JSON."""
    rows = [row._asdict() for row in budget.rows()]
    return {"drawn_from": budget.data, "draws": budget.draws, "class_accuracy": rows}


def predictions_csv(evaluation: Evaluation) -> str:
    """Return one line for each image, with all that the scores are computed from; what is not known is empty."""
    data, answers = evaluation.data, evaluation.answers
    labels, classes = answers.coarse_labels, data.classes
    columns: dict[str, Sequence[object] | NDArray[Any]] = {} if data.files is None else {"file": data.files}
    columns |= {
        "image": range(len(data)),
        "true_class": _names(data.fine, classes),
        "guess": _names(answers.guess, classes),
        "guess_probability": answers.guess_probability,
        "true_coarse": _names(data.coarse, labels),
        "coarse": answers.coarse_label,
        "coarse_probability": answers.coarse_probability.max(axis=1),
        "expert": answers.expert,
        "confidence": answers.confidence,
        "abstain": answers.abstain.astype(int),
    }
    if len(labels) > 1:
        columns |= {
            f"coarse_probability/{name}": c for name, c in zip(labels, answers.coarse_probability.T, strict=True)
        }
    columns |= {f"routing/{e}": column for e, column in enumerate(answers.routing.T)}
    columns |= {f"probability/{name}": c for name, c in zip(classes, answers.class_probability.T, strict=True)}
    return csv_text([columns, *zip(*columns.values(), strict=True)])


def _names(indices: NDArray[np.integer], names: Sequence[str]) -> NDArray[np.str_]:
    """Return the name of each index, empty for ``UNKNOWN``."""
    found: NDArray[np.str_] = np.where(indices == UNKNOWN, "", np.array(names)[indices])
    return found


def drawn(plot: Plot) -> tuple[bytes, dict[str, str]]:
    """Return a plot's light version as a PNG file, and what a page needs to show both versions."""
    light, dark = (figures.png(plot.draw(theme)) for theme in (figures.LIGHT, figures.DARK))
    return light, {"title": plot.title, "text": plot.text, "light": data_url(light), "dark": data_url(dark)}


def _write_plot(plot: Plot, folder: Path) -> dict[str, str]:
    """Write a plot as a file; return what the page needs to show it."""
    light, values = drawn(plot)
    (folder / plot.file).write_bytes(light)
    return values


def _page(evaluation: Evaluated, shown_plots: list[dict[str, str]]) -> str:
    """Return the page."""
    scores = {
        key: {"title": title(key), "text": definition(key).meaning, "value": shown(key, value)}
        for key, value in evaluation.scores.items()
    }
    return render(
        "evaluation",
        PAGE,
        model=evaluation.info.model,
        data=evaluation.data,
        scores=list(scores.values()),
        tiles=[scores[key] for key in TILES if key in scores][:MAX_TILES],
        notes=list(notes(evaluation)),
        protocol=_protocol(evaluation),
        idle=idle_experts(evaluation.scores),
        outliers=_outlier_rows(evaluation.outliers),
        budget=_budget_rows(evaluation.budget),
        plots=shown_plots,
    )


def _outlier_rows(outliers: Outliers | None) -> list[dict[str, str]]:
    """Return the page's table of outliers."""
    if outliers is None:
        return []
    areas = [
        {"title": OUTLIER_SCORES[key].title, "text": OUTLIER_SCORES[key].text, "value": f"{area:.4f}"}
        for key, area in outliers.auroc.items()
    ]
    text = "The share of outliers for which the model's confidence is under its threshold."
    return [*areas, {"title": "Abstained", "text": text, "value": f"{outliers.abstained:.2%}"}]


def _budget_rows(budget: ReferenceBudget | None) -> list[list[str]]:
    """Return the page's table of the reference budget."""
    rows = [] if budget is None else budget.rows()
    return [[f"{row.per_class:,}", *(f"{share:.2%}" for share in row[1:])] for row in rows]


def _protocol(evaluation: Evaluated) -> dict[str, str]:
    """Return what the scores were measured on, as names and sentences."""
    data, info, source = evaluation.data, evaluation.info, evaluation.source
    groups = zip(info.grouping.labels, info.grouping.groups, strict=True)
    protocol = {
        "Model": " ".join(info.model),
        "Source": f"the service at {source['url']}" if "url" in source else f"the bundle {source['bundle']}",
        "Images": f"{_counted(data)}, {BATCH} at a time",
        "Coarse labels": "; ".join(f"{name} = {', '.join(info.class_names[c] for c in g)}" for name, g in groups),
        "Class map": _class_map(info.class_map),
    }
    if isinstance(evaluation, FileEvaluation) and evaluation.unread.total:
        protocol["Not read"] = (
            f"{evaluation.unread.total:,} files or images; {UNREAD} lists the first {MAX_LISTED:,} of them"
        )
    if evaluation.outliers is not None:
        protocol["Outliers"] = _counted(evaluation.outliers.data)
    if evaluation.budget is not None:
        draws, drawn_from = evaluation.budget.draws, evaluation.budget.data
        protocol["Labelled images"] = f"{draws} draws of each number from {drawn_from}, seeds 0 to {draws - 1}"
    return protocol


def _counted(data: LabelledImages | FileImages) -> str:
    """Return how many images of what."""
    return f"{len(data):,} of {data.name}" + (f", split {data.split}" if data.split else "")


def _class_map(class_map: dict[str, Any]) -> str:
    """Return where the class map comes from."""
    if class_map["kind"] == "cells":
        return "none is fitted: each cell in use is a subtype of its own, named by no reference image"
    images, data = class_map["reference_images"], class_map["data"]
    return f"fitted on {images:,} images of {data}, listed in the bundle's manifest"
