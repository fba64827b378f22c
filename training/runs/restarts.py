"""Restarts: one recipe trained several times, of which the best is kept by its label-free score.

A run of several restarts is a folder of runs; the table says which one is kept::

    restart_0/      a run folder each
    restart_1/
    restarts.csv    label-free figures of each that did not diverge, and which was kept
"""

import math
from pathlib import Path

from clustnet.files import write_table
from training.engine.processes import is_first, on_first, print_once
from training.methods.method import DivergedError
from training.pictures.gallery import draw_networks
from training.recipe.recipe import SEEDS, BaseRecipe
from training.runs.loop import train
from training.runs.run_folder import RESTARTS, Row, RunFolder

# Distance between the seeds of restarts, so that the seeds of a sweep do not meet them.
SEED_STEP = 100_000


def train_restarts(recipe: BaseRecipe, out: Path, resume: bool = False) -> list[Row]:
    """Train all restarts of a recipe and return the scores of the one that is kept.

    Args:
        recipe: what to train.
        out: the run folder.
        resume: go on where training was stopped.

    Raises:
        UserError: as ``training.runs.loop.train``; a restart that diverges is left out, unless all of them do.
        KeyboardInterrupt: stopped by the user; its message says what is safe.
    """
    if recipe.restarts == 1:
        return train(recipe, out, resume)
    with RunFolder(out).begun(recipe, resume):
        return _train_all(recipe, out)


def _train_all(recipe: BaseRecipe, out: Path) -> list[Row]:
    """Train the restarts that are missing, write the table and return the scores of the one that is kept."""
    runs = []
    for number in range(recipe.restarts):
        print_once(f"restart {number + 1}/{recipe.restarts}")
        runs.append(_train_one(recipe, out, number))
    scores = [rows[-1]["label_free/score"] if rows else math.nan for rows in runs]
    if all(map(math.isnan, scores)):
        raise DivergedError(f"All {recipe.restarts} restarts diverged; lower optimisation.learning_rate.")
    best = max(range(recipe.restarts), key=lambda number: (not math.isnan(scores[number]), scores[number]))
    if is_first():
        write_table(out / RESTARTS, _table(runs, best))
        if recipe.vis != 0:
            networks = {f"restart_{number}": rows for number, rows in enumerate(runs) if rows}
            draw_networks(RunFolder(out).pictures, recipe, networks, f"restart_{best}")
    listed = ", ".join(f"{score:z.4f}" for score in scores)
    print_once(f"label-free scores of the restarts: {listed}; kept restart {best + 1}")
    return runs[best]


def _train_one(recipe: BaseRecipe, out: Path, number: int) -> list[Row]:
    """Train one restart, or what is missing of it, and return its scores: none if it diverged."""
    folder = out / f"restart_{number}"
    try:
        return train(restart_recipe(recipe, number), folder, on_first(RunFolder(folder).exists))
    except DivergedError:
        print_once(f"restart {number + 1}/{recipe.restarts} diverged and is left out")
        return []


def train_seconds(run: Path) -> float:
    """Return how long the finished epochs of a run, including those of all its restarts, were trained, in seconds."""
    folders = [RunFolder(path) for path in (run, *sorted(run.glob("restart_*")))]
    rows = [row for folder in folders for row in folder.read_scores(folder.last_epoch())]
    return sum(float(row["train_seconds"]) for row in rows if row["split"] == "train")


def restart_recipe(recipe: BaseRecipe, number: int) -> BaseRecipe:
    """Return the recipe of one restart; the first equals a single run of the recipe."""
    return recipe.model_copy(update={"seed": (recipe.seed + SEED_STEP * number) % SEEDS, "restarts": 1})


def _table(runs: list[list[Row]], best: int) -> list[Row]:
    """Return the label-free figures of each restart, and which one is kept."""
    return [
        {"restart": number, "kept": int(number == best)}
        | {key: value for row in rows[-1:] for key, value in row.items() if key.startswith("label_free/")}
        for number, rows in enumerate(runs)
    ]
