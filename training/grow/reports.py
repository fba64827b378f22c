"""The results of a run, written at its end: ``summary.csv``, ``overall.csv``, a heat map and the learning curves."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clustnet.datasets.folder_layout import TEST
from training.grow import baselines
from training.grow.data import GrowImages
from training.grow.hierarchy import Labels, name_of
from training.grow.network import GrownNetwork
from training.grow.plots import draw_curves, draw_matrix
from training.grow.scores import score_walks, transfer_of
from training.grow.tables import write_rows

# Timed runs of one image, of which the median is taken.
TIMED_RUNS = 21
# The columns that are printed.
COLUMNS = ("node", "accuracy_learnt", "accuracy_now", "forgotten", "scratch_accuracy", "joint_accuracy")

Row = dict[str, Any]


def write(run: Path, images: GrowImages, network: GrownNetwork, matrix: Sequence[Row], curves: Sequence[Row]) -> None:
    """Write all tables and pictures of a run, and print the summary.

    Args:
        run: the folder.
        images: images of the run.
        network: the network after the last step.
        matrix: one row per step and learnt node.
        curves: one row per epoch.
    """
    write_rows(run / "matrix.csv", matrix)
    write_rows(run / "curves.csv", curves)
    compared = baselines.read(run)
    summary = summary_of(images, network, matrix, compared)
    write_rows(run / "summary.csv", summary)
    overall = overall_of(images, network, matrix, compared)
    write_rows(run / "overall.csv", [overall])
    nodes = [name_of(node) for node in network.learnt]
    draw_matrix(accuracies(matrix, nodes), nodes, run / "matrix.png")
    draw_curves(curves, run / "curves.png")
    print(f"\n{table_text(summary)}\n")
    print(", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in overall.items() if key != "images"))
    print(f"look:  {run / 'matrix.png'} and {run / 'curves.png'}")


def accuracies(matrix: Sequence[Row], nodes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the accuracy of node j after step i, float64 [T, T], NaN where it was not learnt yet."""
    found = np.full((len(nodes), len(nodes)), np.nan)
    for row in matrix:
        found[row["step"] - 1, nodes.index(row["node"])] = row["accuracy"]
    return found


def summary_of(images: GrowImages, network: GrownNetwork, matrix: Sequence[Row], compared: Sequence[Row]) -> list[Row]:
    """Return one row per node: how well it was learnt, how much of that remains, and what it costs."""
    rows = []
    for number, node in enumerate(network.learnt):
        own = [row for row in matrix if row["node"] == name_of(node)]
        first, last = own[0], own[-1]
        row: Row = {"node": name_of(node), "children": len(images.hierarchy.children(node)), "images": last["images"]}
        for score in ("accuracy", "sensitivity", "specificity"):
            row |= {f"{score}_learnt": first[score], f"{score}_now": last[score]}
        row["forgotten"] = first["accuracy"] - last["accuracy"]
        row |= {
            f"{other['baseline']}_accuracy": float(other["accuracy"])
            for other in compared
            if other["node"] == row["node"]
        }
        row["parameters_added"] = sum(parameter.numel() for parameter in network.nodes[number].parameters())
        row["milliseconds_added"] = added_milliseconds(network, images, node)
        rows.append(row)
    return rows


def overall_of(images: GrowImages, network: GrownNetwork, matrix: Sequence[Row], compared: Sequence[Row]) -> Row:
    """Return the results of the whole run: forgetting, transfer, and whole walks on test images."""
    nodes = [name_of(node) for node in network.learnt]
    alone = {row["node"]: float(row["accuracy"]) for row in compared if row["baseline"] == baselines.SCRATCH}
    scratch = [alone[node] for node in nodes[1:]] if set(nodes[1:]) <= set(alone) else None
    found = transfer_of(accuracies(matrix, nodes), scratch)
    walks = score_walks(network, images, TEST)
    row = {**found._asdict(), **walks._asdict()}
    for other in compared:
        if other["baseline"] == baselines.JOINT:
            row |= {f"joint_{key}": float(other[key]) for key in ("leaf_accuracy", "mistake_severity")}
    return {key: value for key, value in row.items() if value is not None}


@torch.no_grad()
def added_milliseconds(network: GrownNetwork, images: GrowImages, node: Labels) -> float:
    """Return the median time of a node's module for one image, in milliseconds on the CPU."""
    maps = network.stem(network.normalise(images.images[:1]))
    for above in (node[:depth] for depth in range(len(node))):
        maps = network.module_of(above).block(maps)
    module = network.module_of(node)
    times = []
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        module.logits(module.block(maps))
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def table_text(summary: Sequence[Row]) -> str:
    """Return the summary as text."""
    columns = [column for column in COLUMNS if any(column in row for row in summary)]
    lines = [tuple(column.replace("_", " ") for column in columns)]
    lines += [tuple(_cell(row.get(column, "")) for column in columns) for row in summary]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
