"""What each mode of ``clustnet grow`` forgets: per seed, the first node is learnt once and each mode goes on from it.

::

    python -m benchmarks.tiny_imagenet FOLDER_OF_THE_SUBSET photos
    python -m benchmarks.growing configs/grow/tiny_imagenet.yaml --data photos/whole --out runs/growing

Runs that are finished are not repeated. The tables are printed as Markdown: mean, standard deviation and (worst) over
the seeds.
"""

import argparse
import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import get_args

from training.grow.config import GrowRecipe, Mode, read_grow_recipe
from training.grow.growing import grow
from training.grow.modes import NAMES

SCORES = ("accuracy", "sensitivity", "specificity")
BEFORE, AT_SECOND, AT_END = "before", "after the second node", "after all nodes"

# For these scores, the largest value is the worst.
WORST = {"forgetting": max, "mistake_severity": max, "joint_mistake_severity": max}

Rows = list[dict[str, str]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description="Measure what each mode of 'clustnet grow' forgets.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", required=True, help="instead of the recipe's data.path")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", choices=get_args(Mode), default=list(get_args(Mode)))
    parser.add_argument("--baselines", choices=get_args(Mode), help="the mode whose runs learn the baselines, too")
    options = parser.parse_args(arguments)
    for mode in options.modes:
        for seed in options.seeds:
            recipe = read_grow_recipe(options.config, {"seed": seed, "data.path": options.data})
            _run(recipe, mode, options.out, mode == options.baselines)
    runs = {
        mode: [options.out / f"{mode}_seed{seed}" for seed in options.seeds]
        for mode in options.modes
        if all((options.out / f"{mode}_seed{seed}" / "overall.csv").is_file() for seed in options.seeds)
    }
    print("\n" + "\n\n".join([forgetting_table(runs), *node_tables(runs)]))


def _run(recipe: GrowRecipe, mode: Mode, out: Path, baselines: bool) -> None:
    """Learn the first node with a recipe's seed and go on in a mode, unless that is done already."""
    assert recipe.steps is not None
    first, run = out / f"first_seed{recipe.seed}", out / f"{mode}_seed{recipe.seed}"
    if not (first / "overall.csv").is_file():
        grow(recipe.model_copy(update={"steps": recipe.steps[:1]}), first, first.exists())
    if not (run / "overall.csv").is_file():
        rest = {"steps": recipe.steps[1:], "begin": first, "mode": mode, "baselines": baselines}
        grow(recipe.model_copy(update=rest), run, run.exists())


def forgetting_table(runs: dict[str, list[Path]]) -> str:
    """Return the scores of the first node before and after others were learnt."""
    lines = [f"| mode | when | {' | '.join(SCORES)} |", "|---|---|" + "---|" * len(SCORES)]
    for mode, folders in runs.items():
        tables = [_first_node(read(folder / "matrix.csv")) for folder in folders]
        moments = {BEFORE: 0, AT_SECOND: 1, AT_END: -1}
        for when, place in moments.items():
            if when != BEFORE or mode == next(iter(runs)):
                name = "baseline" if when == BEFORE else NAMES[mode]
                cells = [spread(float(rows[place][score]) for rows in tables) for score in SCORES]
                lines.append(f"| {name} | {when} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _first_node(rows: Rows) -> Rows:
    return [row for row in rows if row["node"] == rows[0]["node"]]


def node_tables(runs: dict[str, list[Path]]) -> list[str]:
    """Return the tables of each node's accuracy when learnt and at the end, of whole runs, and of the baselines."""
    summaries = {mode: [read(folder / "summary.csv") for folder in folders] for mode, folders in runs.items()}
    overall = {mode: [read(folder / "overall.csv")[0] for folder in folders] for mode, folders in runs.items()}
    some = next(iter(summaries.values()))[0]
    learnt = _table(
        ["mode", *(row["node"] for row in some)],
        {
            NAMES[mode]: [
                f"{_of(tables, number, 'accuracy_learnt')}; {_of(tables, number, 'accuracy_now')}"
                for number in range(len(some))
            ]
            for mode, tables in summaries.items()
        },
    )
    keys = list(dict.fromkeys(key for rows in overall.values() for key in rows[0]))
    whole = _table(
        ["mode", *(key.replace("_", " ") for key in keys)],
        {
            NAMES[mode]: [
                spread((float(row[key]) for row in rows), WORST.get(key, min)) if key in rows[0] else "" for key in keys
            ]
            for mode, rows in overall.items()
        },
    )
    compared = ["scratch_accuracy", "joint_accuracy", "parameters_added", "milliseconds_added"]
    with_baselines = next((tables for tables in summaries.values() if "joint_accuracy" in tables[0][-1]), None)
    if with_baselines is None:
        return [learnt, whole]
    costs = {row["node"]: [_of(with_baselines, place, key) for key in compared] for place, row in enumerate(some)}
    return [learnt, whole, _table(["node", *(key.replace("_", " ") for key in compared)], costs)]


def _of(tables: list[Rows], number: int, key: str) -> str:
    cells = [rows[number].get(key, "") for rows in tables]
    return spread(map(float, cells), None if key == "milliseconds_added" else min) if all(cells) else ""


def _table(header: Sequence[str], rows: dict[str, list[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def spread(values: Iterable[float], worst: Callable[[list[float]], float] | None = min) -> str:
    """Return mean, standard deviation and worst of values; only the mean of one value, or if all are 100 or more."""
    listed = list(values)
    if all(value >= 100 for value in listed):
        return f"{mean(listed):,.0f}"
    if len(listed) == 1:
        return f"{listed[0]:.3f}"
    return f"{mean(listed):.3f} ± {stdev(listed):.3f}" + (f" ({worst(listed):.3f})" if worst else "")


def read(path: Path) -> Rows:
    """Return the rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
