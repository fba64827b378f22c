"""The report: scores, a line for each image, plots, and one page that shows them all."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import write_table
from clustnet.scores.meanings import meaning, shown
from clustnet.scores.scores import idle_experts
from evaluation.files.unread import LISTED, UNREAD
from evaluation.report import plots
from evaluation.report.outliers import OUTLIER_SCORES, Outliers
from evaluation.report.pages import data_url, render, replacing_report
from evaluation.report.reference_budget import DRAWS, ReferenceBudget
from evaluation.report.report_plots import PLOT_FILES, Plot, plots_of
from evaluation.report.scoring import Evaluated, Evaluation, FileEvaluation, FileImages
from evaluation.sources.sources import BATCH

SCORES, IMAGES, PAGE = "scores.json", "predictions.csv", "report.html"
TILES = ("class_accuracy", "binary_accuracy", "cell_accuracy", "nmi")
FILES = {SCORES, IMAGES, PAGE, *PLOT_FILES}  # the most that a report of images that are held has


def check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but an earlier report.

    Raises:
        UserError: the path is a file, or a folder that holds anything else.
    """
    for place in (folder, *folder.resolve().parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place} is a file, not a folder; name a new folder with --out.")
    others = {entry.name for entry in folder.iterdir()} - FILES - {UNREAD} if folder.exists() else set()
    if others:
        raise UserError(
            f"{folder} is not an earlier report, as it holds {min(others)}, so it is not replaced; "
            "name a new folder with --out."
        )


def write_report(evaluation: Evaluated, folder: Path) -> None:
    """Write the report; the folder appears whole or not at all, in the place of an earlier report.

    Raises:
        UserError: the folder holds something else than an earlier report, or cannot be written.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    with replacing_report(folder) as temporary:
        (temporary / SCORES).write_text(scores_json(evaluation), encoding="utf-8")
        _write_lines(evaluation, temporary)
        shown_plots = [_write_plot(plot, evaluation, temporary) for plot in plots_of(evaluation)]
        (temporary / PAGE).write_text(_page(evaluation, shown_plots), encoding="utf-8")


def _write_lines(evaluation: Evaluated, folder: Path) -> None:
    """Write a line for each image where they are held, else one for each that could not be read."""
    if isinstance(evaluation, Evaluation):
        (folder / IMAGES).write_text(predictions_csv(evaluation), encoding="utf-8")
    elif evaluation.unread.total:
        write_table(
            folder / UNREAD, [{"where": fault.where, "why": fault.reason} for fault in evaluation.unread.listed]
        )


def scores_json(evaluation: Evaluated) -> str:
    """Return the scores and what they were measured on; only ``source`` tells a bundle from a service."""
    data, grouping = evaluation.data, evaluation.grouping
    groups = [[data.classes[c] for c in group] for group in grouping.groups]
    scores = {key: None if math.isnan(value) else value for key, value in evaluation.scores.items()}
    content: dict[str, Any] = {
        "model": evaluation.model._asdict(),
        "data": data.name,
        "split": data.split or None,
        "images": len(data),
        "coarse_groups": dict(zip(grouping.labels, groups, strict=True)),
        "scores": scores,
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
    data = outliers.data
    return {
        "data": data.name,
        "split": data.split,
        "images": len(data),
        "auroc": outliers.auroc,
        "abstained": outliers.abstained,
    }


def _budget_json(budget: ReferenceBudget) -> dict[str, Any]:
    return {"drawn_from": budget.training, "draws": DRAWS, "class_accuracy": budget.rows()}


def predictions_csv(evaluation: Evaluation) -> str:
    """Return one line for each image, with all that the scores are computed from."""
    data, answers = evaluation.data, evaluation.answers
    names, coarse = np.array(data.classes), np.array(evaluation.grouping.labels)
    columns = {
        "image": range(len(data)),
        "true_class": names[data.labels],
        "guess": names[answers.guess],
        "guess_probability": answers.guess_probability,
        "true_coarse": coarse[evaluation.grouping.coarse(data.labels)],
        "coarse": answers.coarse_label,
        "coarse_probability": answers.coarse_probability,
        "expert": answers.expert,
        "confidence": answers.confidence,
        "abstain": answers.abstain.astype(int),
    }
    columns |= {f"routing/{e}": column for e, column in enumerate(answers.routing.T)}
    columns |= {f"probability/{n}": c for n, c in zip(data.classes, answers.class_probability.T, strict=True)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _write_plot(plot: Plot, evaluation: Evaluated, folder: Path) -> dict[str, str]:
    """Write the light version as a file; return what the page needs to show both."""
    light = plots.png(plot.draw(evaluation, plots.LIGHT))
    (folder / plot.file).write_bytes(light)
    labels = evaluation.grouping.labels
    return {
        "title": plot.title.format(*labels),
        "text": plot.text.format(*labels),
        "light": data_url(light),
        "dark": data_url(plots.png(plot.draw(evaluation, plots.DARK))),
    }


def _page(evaluation: Evaluated, shown_plots: list[dict[str, str]]) -> str:
    scores = [
        {"title": meaning(key).title, "text": meaning(key).text, "value": shown(key, value)}
        for key, value in evaluation.scores.items()
    ]
    return render(
        PAGE,
        model=evaluation.model,
        data=evaluation.data,
        scores=scores,
        tiles=[scores[list(evaluation.scores).index(key)] for key in TILES if key in evaluation.scores],
        protocol=_protocol(evaluation),
        idle=idle_experts(evaluation.scores),
        outliers=_outlier_rows(evaluation.outliers),
        budget=_budget_rows(evaluation.budget),
        plots=shown_plots,
    )


def _outlier_rows(outliers: Outliers | None) -> list[dict[str, str]]:
    if outliers is None:
        return []
    areas = [
        {"title": OUTLIER_SCORES[key].title, "text": OUTLIER_SCORES[key].text, "value": f"{area:.4f}"}
        for key, area in outliers.auroc.items()
    ]
    told = "Outliers for which the model's confidence is under its threshold."
    return [*areas, {"title": "Abstained", "text": told, "value": f"{outliers.abstained:.2%}"}]


def _budget_rows(budget: ReferenceBudget | None) -> list[list[str]]:
    rows = [] if budget is None else budget.rows()
    return [[f"{row['per_class']:,}", *(f"{row[key]:.2%}" for key in ("mean", "sd", "min", "max"))] for row in rows]


def _protocol(evaluation: Evaluated) -> dict[str, str]:
    """Return what the scores were measured on, as names and sentences."""
    data, grouping, source = evaluation.data, evaluation.grouping, evaluation.source
    groups = zip(grouping.labels, grouping.groups, strict=True)
    told = {
        "Model": " ".join(evaluation.model),
        "Asked": f"the service at {source['url']}" if "url" in source else f"the bundle {source['bundle']}",
        "Images": f"{_told(data)}, {BATCH} at a time",
        "Coarse groups": "; ".join(f"{name} = {', '.join(data.classes[c] for c in g)}" for name, g in groups),
        "Class map": _class_map(source),
    }
    if isinstance(evaluation, FileEvaluation) and evaluation.unread.total:
        told["Not read"] = f"{evaluation.unread.total:,} files or images; {UNREAD} lists the first {LISTED:,} of them"
    if evaluation.outliers is not None:
        told["Outliers"] = _told(evaluation.outliers.data)
    if evaluation.budget is not None:
        told["Labelled images"] = (
            f"{DRAWS} draws of each number from {evaluation.budget.training}, seeds 0 to {DRAWS - 1}"
        )
    return told


def _told(data: LabelledImages | FileImages) -> str:
    return f"{len(data):,} of {data.name}" + (f", split {data.split}" if data.split else "")


def _class_map(source: dict[str, Any]) -> str:
    if "class_map" not in source:
        return "fitted when the service's bundle was exported; the bundle's manifest lists the images"
    fitted = source["class_map"]
    return f"fitted on {fitted['reference_images']:,} images of {fitted['data']}, listed in the bundle's manifest"
