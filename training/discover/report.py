"""The report of ``clustnet discover``: one HTML page with the table, the contact sheets and the lists to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clustnet.pages.rendering import data_url, render
from training.discover.merges import Merge
from training.discover.reading import Problem
from training.discover.subtypes import Row, Summary

# Rows of each list on the page; the tables have all of them.
LISTED = 50


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Args:
        title: name of IMAGES.
        counts: how many images each coarse label has, by split.
        summaries: the subtypes.
        sheets: the contact sheet of each subtype, JPEG; empty for embeddings without images.
        merges: the tree of merges.
        rows: the table of all images.
        problems: what was left out.
        notes: sentences that say how the subtypes were found.
        commands: what to type next.
    """

    title: str
    counts: Mapping[str, Mapping[str, int]]
    summaries: Sequence[Summary]
    sheets: Mapping[str, bytes]
    merges: Sequence[Merge]
    rows: Sequence[Row]
    problems: Sequence[Problem]
    notes: Sequence[str]
    commands: Sequence[str]


def page(report: Report) -> str:
    """Return the HTML page, which needs no other file and no network."""
    return render("training.discover", "report.html", **_values(report))


def _values(report: Report) -> dict[str, Any]:
    suspects = sorted((row for row in report.rows if row.suspect), key=lambda row: row.typicality)
    duplicates = [row for row in report.rows if row.duplicate_of]
    return {
        "report": report,
        "images": len(report.rows),
        "labels": list(dict.fromkeys(summary.label for summary in report.summaries)),
        "sheets": {name: data_url(content, "jpeg") for name, content in report.sheets.items()},
        "suspects": suspects[:LISTED],
        "all_suspects": len(suspects),
        "duplicates": duplicates[:LISTED],
        "all_duplicates": len(duplicates),
        "outliers": sum(row.outlier for row in report.rows),
        "problems": report.problems[:LISTED],
    }
