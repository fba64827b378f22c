"""What a run of any method has learnt: its pictures, drawn from its checkpoints, and its scores."""

from collections.abc import Sequence
from pathlib import Path

from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import shown
from training.data.data import load_split
from training.data.embedded import EmbeddedFiles
from training.engine.progress import progress
from training.models.inference import route
from training.pictures.gallery import INDEX, Gallery, draw_networks
from training.runs.run_folder import RESTARTS, Row, RunFolder

SCORES = ("coarse_accuracy", "class_accuracy", "cell_accuracy", "nmi", "ari", "label_free/score")


def report_run(run: Path, out: Path | None = None) -> tuple[Path, list[str]]:
    """Draw the kept epochs of a run and of its restarts; return the page and lines of scores.

    Args:
        run: folder of the run.
        out: folder for the pictures; by default that of the run, where each restart has its own.

    Raises:
        UserError: there is no finished epoch, or the data cannot be read.
    """
    restarts = sorted(run.glob("restart_*")) if (run / RESTARTS).is_file() and out is None else []
    if not restarts:
        folder = RunFolder.kept(run)
        place = out or folder.pictures
        return place / INDEX, [_line(folder.path.name, _draw(folder, place))]
    finished = {path.name: RunFolder(path) for path in restarts if RunFolder(path).last_epoch()}
    networks = {name: _draw(folder, folder.pictures) for name, folder in finished.items()}
    place = RunFolder(run).pictures
    draw_networks(place, RunFolder(run).recipe(), networks, RunFolder.kept(run).path.name)
    return place / INDEX, [_line(name, rows) for name, rows in networks.items()]


def _draw(folder: RunFolder, out: Path) -> list[Row]:
    """Draw the kept epochs of a run, and return its scores."""
    recipe, epochs = folder.recipe(), folder.epochs()
    if not epochs:
        raise UserError(f"{shown(folder.path)} has no finished epoch yet; train it first.")
    images, rows = _shown_split(folder), folder.read_scores(epochs[-1])
    gallery = Gallery(out, recipe, images, epochs[-1])
    for epoch in progress(epochs, len(epochs), "draw", "epoch"):
        model = folder.load_network(epoch)
        routed = route(model, images.images, recipe.hard)
        if epoch == epochs[-1]:
            gallery.draw(epoch, model, routed, rows)
        else:
            gallery.draw_epoch(epoch, model, routed)
    return rows


def _shown_split(folder: RunFolder) -> LabelledImages:
    """Return the test split, or the training split if there is none."""
    recipe = folder.recipe()
    reader = EmbeddedFiles.reader(recipe.encoder, folder.embeddings)
    test = load_split(recipe.data, "test", reader)
    return load_split(recipe.data, "train", reader) if test is None else test


def _line(name: str, rows: Sequence[Row]) -> str:
    """Return the last scores of a run as one line."""
    last = rows[-1]
    scores = [f"{key.replace('_', ' ')} {last[key]:.4f}" for key in SCORES if key in last]
    return f"{name}, epoch {last['epoch']}, {last['split']} split: {', '.join(scores)}"
