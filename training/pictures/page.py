"""The page of a run's pictures: one static file beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.pages.rendering import render
from training.pictures.failures import MOST_SHOWN, UNSURE, WRONG, Case, tile
from training.recipe.recipe import BaseRecipe

# Scores that stand at the top of the page, where the run has them.
HEADLINE = {
    "coarse_accuracy": "coarse accuracy",
    "class_accuracy": "class accuracy",
    "cell_accuracy": "accuracy over cells",
}


class Shown(NamedTuple):
    """A case as the page shows it: its picture as a data URL, or None, its name and a description."""

    picture: str | None
    name: str
    words: str


def run_page(
    folder: Path,
    recipe: BaseRecipe,
    images: LabelledImages,
    found: Sequence[Case],
    epochs: Sequence[int],
    last: Mapping[str, Any],
) -> str:
    """Return the page of one run as HTML.

    Args:
        folder: the folder of the pictures.
        recipe: the run's recipe.
        images: the split that is shown.
        found: images that are worth a look.
        epochs: the epochs that were drawn.
        last: the scores of the last epoch.
    """
    pictures = {path.name for path in folder.glob("*.png")}
    per_epoch = {
        name: [epoch for epoch in epochs if f"{name}_{epoch:03}.png" in pictures] for name in ("confusion", "embedding")
    }
    return render(
        "training.pictures",
        "index.html",
        run=folder.absolute().parent.name,
        method=recipe.method,
        data=f"{len(images):,} {'test' if images.split == 'test' else 'training'} images of {images.name}",
        epochs=epochs,
        epoch=epochs[-1],
        scores=_headline(last),
        per_epoch=per_epoch,
        pictures=pictures,
        classes=bool(images.classes) and bool((images.fine != UNKNOWN).any()),
        wrong=_shown(found, WRONG, images, recipe.data.path),
        unsure=_shown(found, UNSURE, images, recipe.data.path),
        notes=_left_out(images, pictures),
    )


def networks_page(recipe: BaseRecipe, networks: Mapping[str, Sequence[Mapping[str, Any]]], kept: str) -> str:
    """Return the page of several networks as HTML.

    Args:
        recipe: the recipe of all networks.
        networks: name -> the scores of the network's epochs.
        kept: the name of the network that is kept.
    """
    table = {name: _headline(rows[-1]) for name, rows in networks.items()}
    return render("training.pictures", "networks.html", method=recipe.method, networks=table, kept=kept)


def _headline(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the scores at the top of a page, by their titles."""
    scores = {title: f"{row[key]:.1%}" for key, title in HEADLINE.items() if key in row}
    return scores | {"label-free score": f"{row['label_free/score']:.3f}"}


def _shown(found: Sequence[Case], kind: str, images: LabelledImages, folder: Path | None) -> list[Shown]:
    """Return the first cases of a kind with their pictures."""
    some = [one for one in found if one.kind == kind][:MOST_SHOWN]
    return [Shown(tile(images, one.place, folder), one.name, _words(one)) for one in some]


def _words(one: Case) -> str:
    """Return a short description of an image."""
    if one.kind == WRONG:
        return f"{one.coarse}, taken for {one.predicted} ({one.probability:.0%})"
    return f"{one.coarse or 'label not known'}, expert {one.expert} with {one.routing:.0%}"


def _left_out(images: LabelledImages, pictures: set[str]) -> list[str]:
    """Return sentences that say what is not drawn, and why."""
    notes = []
    if not any(name.startswith("confusion") for name in pictures):
        notes.append(
            "Confusion matrices are left out, because they need test images whose fine classes are known. Those of "
            "training images are never looked at."
        )
    if "filters.png" not in pictures:
        notes.append(
            "Filters and activations are left out, because no layer of this network looks at whole images or at "
            "patches of them: it reads pooled pixels, or the embeddings of an encoder."
        )
    if len(images.coarse_labels) == 1:
        notes.append("No image has a wrong coarse label, because there is only one.")
    return notes
