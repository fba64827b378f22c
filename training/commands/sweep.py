"""``clustnet sweep``: many runs of one recipe under one name, with one table and one plot across them."""

import argparse
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clustnet.errors import UserError
from clustnet.files import check_writable, write_table
from training.recipe.reading import check_data, parse_overrides, parse_value, read_recipe, takes_list
from training.recipe.recipe import BaseRecipe

SCORES = ("coarse_accuracy", "class_accuracy", "purity", "cell_accuracy", "nmi", "ari", "label_free/score")
Member = tuple[str, int, BaseRecipe]
Run = tuple[str, int, list[dict[str, Any]]]


def main(arguments: Sequence[str]) -> None:
    """Train every combination of seeds and values, skipping what is finished.

    Raises:
        UserError: the recipe, a key, a value, a seed or a folder is wrong.
        KeyboardInterrupt: stopped by the user; its message says how to continue.
    """
    options, overrides = _parser().parse_known_args(arguments)
    keys = parse_overrides(overrides, vars(options).keys() - {"config"})
    members = plan(options.config, parse_seeds(options.seeds), keys)
    out = options.out or Path("runs") / options.config.stem
    for recipe in {str(recipe.data.path): recipe for _, _, recipe in members}.values():
        check_data(recipe, None if "data.path" in keys else options.config.parent)
    check_writable(out)
    # Imported here, so that --help does not load torch.
    from training.engine.processes import is_first, joined

    with joined():
        runs = _train_all(members, out)
        if is_first():
            _write_all(out, runs)


def parse_seeds(text: str) -> list[int]:
    """Parse ``0..4`` (both ends count) or ``0,3,7``; a seed that is given twice counts once.

    Raises:
        UserError: the text has neither form.
    """
    first, dots, last = text.partition("..")
    try:
        seeds = list(range(int(first), int(last) + 1)) if dots else [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds:
        raise UserError(f"The seeds {text!r} must read FIRST..LAST, as in 0..4, or be listed, as in 0,3,7.")
    return list(dict.fromkeys(seeds))


def plan(config: Path, seeds: Sequence[int], overrides: dict[str, Any]) -> list[Member]:
    """Return the name, seed and recipe of every combination; all recipes are checked before any is trained.

    Args:
        config: the recipe.
        seeds: seeds of each setting.
        overrides: for each key, one value, or several as ``"a,b,c"``.

    Raises:
        UserError: the recipe, a key or a value is wrong, or the seed is among the keys.
    """
    if "seed" in overrides:
        raise UserError("The seeds of a sweep are set with --seeds, as in --seeds 0..4; leave out --seed.")
    grid = [[(key, value) for value in _values(key, text)] for key, text in overrides.items()]
    members = []
    for setting in itertools.product(*grid):
        varied = [
            f"{key.rpartition('.')[2]}={value}"
            for (key, value), choices in zip(setting, grid, strict=True)
            if len(choices) > 1
        ]
        name = "_".join(varied) or config.stem
        members += [(name, seed, read_recipe(config, dict(setting) | {"seed": seed})) for seed in seeds]
    return members


def write_tables(out: Path, runs: Sequence[Run], seconds: Sequence[float]) -> str:
    """Write the members' final scores and their summary per setting; return the summary as text.

    The scores are those of the test split, or of the training split if there is no test split.

    Args:
        out: the folder of the tables.
        runs: all members.
        seconds: training time of each, over all its restarts.
    """
    finals = [
        {"setting": name, "seed": seed, **rows[-1], "seconds": round(taken, 1)}
        for (name, seed, rows), taken in zip(runs, seconds, strict=True)
    ]
    # Some scores need several coarse labels or fine classes.
    scores = [score for score in SCORES if any(score in row for row in finals)]
    summary = [
        _summary(name, list(group), scores) for name, group in itertools.groupby(finals, lambda row: row["setting"])
    ]
    write_table(out / "members.csv", finals)
    write_table(out / "summary.csv", summary)
    return format_table(summary)


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as text in aligned columns."""
    texts = ([f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows)
    cells = [list(rows[0]), *texts]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _train_all(members: Sequence[Member], out: Path) -> list[Run]:
    """Train the members that are not finished, and return the scores of all."""
    from training.engine.processes import on_first, print_once
    from training.runs.restarts import train_restarts
    from training.runs.run_folder import RunFolder

    runs: list[Run] = []
    for number, (name, seed, recipe) in enumerate(members, 1):
        print_once(f"[{number}/{len(members)}] {name} seed {seed}")
        folder = _folder(out, name, seed)
        try:
            runs.append((name, seed, train_restarts(recipe, folder, resume=on_first(RunFolder(folder).exists))))
        except KeyboardInterrupt as stop:
            safe = f"{stop}; the" if stop.args else "The"
            raise KeyboardInterrupt(f"{safe} same command continues.") from None
    return runs


def _write_all(out: Path, runs: Sequence[Run]) -> None:
    """Write and print the tables across all runs, and draw the plots."""
    from training.reports.sweep_plot import plot_evolution, plot_label_free
    from training.runs.restarts import train_seconds

    print(write_tables(out, runs, [train_seconds(_folder(out, name, seed)) for name, seed, _ in runs]))
    written = ["members.csv", "summary.csv"]
    for name, plot in {"evolution.png": plot_evolution, "label_free.png": plot_label_free}.items():
        if plot(runs, out / name):
            written.append(name)
    print(f"Written to {out}: {', '.join(written)}")


def _folder(out: Path, name: str, seed: int) -> Path:
    """Return the run folder of a member."""
    return out / f"{name}_seed{seed}"


def _values(key: str, text: Any) -> list[Any]:
    """Return the values that an override lists."""
    if not isinstance(text, str) or takes_list(key):
        return [text]
    return [parse_value(key, part) for part in dict.fromkeys(text.split(","))]


def _summary(name: str, group: Sequence[dict[str, Any]], scores: Sequence[str]) -> dict[str, Any]:
    """Return the mean, standard deviation (n - 1) and worst of each score over the seeds; empty if there is none."""
    summary: dict[str, Any] = {"setting": name, "seeds": len(group)}
    for score in scores:
        values = [row[score] for row in group if score in row]
        summary[score] = statistics.fmean(values) if values else ""
        summary[f"{score}_sd"] = statistics.stdev(values) if len(values) > 1 else ""
        summary[f"{score}_worst"] = min(values, default="")
    return summary | {"seconds": statistics.fmean(row["seconds"] for row in group)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet sweep",
        description="Train one recipe with several seeds and values; finished runs are not trained again.",
        epilog="--key.sub A,B,C trains each value, as in --optimisation.learning_rate 0.01,0.001.",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a recipe, such as configs/mnist_soft.yaml")
    parser.add_argument("--seeds", default="0..2", help="FIRST..LAST or A,B,C (default: 0..2)")
    parser.add_argument("--out", type=Path, help="the folder of the runs (default: runs/RECIPE)")
    return parser
