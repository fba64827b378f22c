"""The model card: what a bundle is, how it was trained, how good it is and what its limits are.

Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from clustnet.bundles.bundle import Manifest
from clustnet.datasets import LabelledImages
from clustnet.encoders import find_encoder, read_spec
from clustnet.scores.left_out import left_out
from training.methods.clustnet.config import OWN_REPRESENTATIONS, ClustNetRecipe
from training.recipe.recipe import BaseRecipe

# The scores of a test split whose labels are all known; those of the guess need reference images as well.
OF_CELLS = ("coarse_accuracy", "group_accuracy/LABEL", "cell_accuracy", "purity", "nmi", "ari")
OF_GUESSES = ("class_accuracy", "calibration_error")
PER_EXPERT = "expert_load/"


def model_card(
    manifest: Manifest, recipe: BaseRecipe, test: LabelledImages | None, experts_learn: bool, parity: float
) -> str:
    """Return the card as Markdown.

    Args:
        manifest: the bundle's manifest.
        recipe: the recipe of the run.
        test: the test split, if the data have one.
        experts_learn: whether the experts' answers depend on the image.
        parity: the largest absolute difference between torch and the graphs.
    """
    return (
        "\n\n".join(
            [
                f"# {manifest.name}, version {manifest.version}",
                _purpose(manifest),
                f"## How it was trained\n\n{_training(manifest, recipe, experts_learn)}",
                f"## Scores\n\n{_scores(manifest, test)}",
                f"## What each cell stands for\n\n{_cells(manifest)}",
                f"## Limits\n\n{_limits(manifest, recipe, parity)}",
            ]
        ).rstrip()
        + "\n"
    )


def _purpose(manifest: Manifest) -> str:
    labels = "The routing"
    if manifest.grouping().divided:
        labels = f"It predicts the coarse label ({', '.join(manifest.coarse_labels)}). The routing"
    classes = f"{len(manifest.subtypes)} fine classes"
    if manifest.class_map.kind == "cells":
        by_person = sum(subtype.named for subtype in manifest.subtypes)
        said = f"{by_person} of them named by a person" if by_person else "which nobody has named yet"
        classes = f"{len(manifest.subtypes)} subtypes, {said}"
    return (
        f"A gate that routes each image to one of {manifest.experts} experts ({manifest.routing} routing). "
        f"{labels}, read through a class map, guesses one of {classes}: {', '.join(manifest.class_names)}."
    )


def _training(manifest: Manifest, recipe: BaseRecipe, experts_learn: bool) -> str:
    labels = "with coarse labels alone" if manifest.grouping().divided else "without any label"
    class_map = (
        f"The class map was fitted on {manifest.class_map.reference_images} labelled images "
        f"of {manifest.class_map.data}; this run used no other fine label."
    )
    if manifest.class_map.kind == "cells":
        class_map = (
            "There are no reference images, so each cell in use is a subtype of its own: a cell to which at least 1 % "
            "of the training images of its coarse label go. The subtypes of a coarse label are numbered by their "
            "training images, the largest first. This run used no fine label."
        )
        if any(subtype.named for subtype in manifest.subtypes):
            class_map += " A person looked at the subtypes; cells that were merged there share a subtype."
    return (
        f"Method `{manifest.method}` on the training split of {recipe.data.name}, {labels}, "
        f"seed {recipe.seed}. {class_map}\n\n"
        f"{_encoder(manifest)}{_compared(recipe)}{_calibration(manifest)} {_confidence(manifest, experts_learn)}"
        f"{_drift(manifest)}"
        f"\n\n```yaml\n{recipe.to_yaml()}```"
    )


def _compared(recipe: BaseRecipe) -> str:
    """Return which encoders the initial partition compared images by, since these may have seen the classes."""
    if not isinstance(recipe, ClustNetRecipe) or not recipe.partition.epochs:
        return ""
    names = [name for name in recipe.partition.representations if name not in OWN_REPRESENTATIONS]
    return "".join(
        f"The initial partition compared images by the encoder {spec.name} as well, which "
        f"{leakage(spec.trained_on)}\n\n"
        for spec in (read_spec(*find_encoder(name)) for name in names)
    )


def _encoder(manifest: Manifest) -> str:
    encoder = manifest.encoder
    if encoder is None:
        return ""
    return (
        f"Gate and experts read the embeddings of the frozen encoder {encoder.name} (licence: {encoder.licence}). It "
        f"{leakage(encoder.trained_on)}\n\n"
    )


def leakage(trained_on: str) -> str:
    """Return the end of a sentence about an encoder: what it was trained on, and what follows from that."""
    return f"was trained on: {trained_on}. Scores on such data are too high, as the encoder has seen them."


def _calibration(manifest: Manifest) -> str:
    calibration = manifest.calibration
    if calibration.images == 0:
        return "The class probabilities have temperature 1, as there are no coarse labels on which to fit it."
    return (
        f"The class probabilities have temperature {calibration.temperature:.3f}, fitted on the coarse labels of "
        f"{calibration.images:,} images of {calibration.data}."
    )


def _confidence(manifest: Manifest, experts_learn: bool) -> str:
    abstention = manifest.abstention
    logits = ""
    if experts_learn and manifest.grouping().divided:
        logits = " and the chosen expert's logit" if manifest.routing == "hard" else " and the experts' logits"
    return (
        "The confidence is 1 / (1 + d), where d is the mean squared, whitened distance of the gate's "
        f"embedding{logits} to the nearest cell's mean; "
        f"it is under {abstention.threshold:.4f}, and the model abstains, for {abstention.share:.1%} of "
        f"{abstention.images:,} images of {abstention.data} that its means were not fitted on."
    )


def _drift(manifest: Manifest) -> str:
    if not manifest.drift:
        return ""
    how = "which it was trained without" if manifest.drift.held_out else "which it was trained with"
    return (
        f"\n\nLive traffic is compared with the answers for {manifest.drift.images:,} images of "
        f"{manifest.drift.data}, {how}."
    )


def _scores(manifest: Manifest, test: LabelledImages | None) -> str:
    if test is None:
        return (
            "There are no scores: the data have no test split, and scores of training images would flatter the model."
        )
    shown = [score for score in manifest.scores if not score.name.startswith(PER_EXPERT)]
    loads = [f"{score.value:.3f}" for score in manifest.scores if score.name.startswith(PER_EXPERT)]
    first = manifest.scores[0]
    lines = [
        f"One run, seed {first.seed}, on the {first.images:,} images of the {first.split} split.",
        "",
        "| score | value | protocol |",
        "|---|---|---|",
        *(f"| {score.name} | {score.value:.4f} | {score.protocol} |" for score in shown),
        "",
        f"Expert load: {', '.join(loads)}.",
    ]
    scored = OF_CELLS if manifest.class_map.kind == "cells" else OF_GUESSES + OF_CELLS
    missing = list(left_out([score.name for score in manifest.scores], manifest.coarse_labels, scored))
    return "\n".join([*lines, *(["", " ".join(missing)] if missing else [])])


def _cells(manifest: Manifest) -> str:
    columns = manifest.coarse_labels
    lines = ["| expert | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for expert, rows in enumerate(manifest.class_map.values):
        best = [max(range(len(row)), key=row.__getitem__) for row in rows]
        cells = [f"{manifest.class_names[c]} ({row[c]:.2f})" for c, row in zip(best, rows, strict=True)]
        lines.append(f"| {expert} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nThe most probable class of each cell, with its share in the class map."


def _limits(manifest: Manifest, recipe: BaseRecipe, parity: float) -> str:
    shape = "x".join(str(side) for side in manifest.input.shape)
    scores = "The scores are of one run; other seeds differ, see the recipe's header. " if manifest.scores else ""
    return (
        f"It reads uint8 images of {shape} ({manifest.input.meaning}) like those of {recipe.data.name}, and answers "
        "for any other image as well; `abstain` marks only some of these, and how many depends on their kind. "
        f"{_mistakes(manifest)} {scores}"
        f"{_examples(manifest)}The graphs agree with the trained model within {parity:.1e}."
    )


def _examples(manifest: Manifest) -> str:
    images = sum(manifest.examples())
    if not images:
        return ""
    return (
        f"The folder `examples/` holds {images} training images, some of each subtype; who may ask the service may see "
        "them. "
    )


def _mistakes(manifest: Manifest) -> str:
    if not manifest.grouping().divided:
        return "Its class probabilities are not calibrated, as there are no coarse labels: they are the clusters' own."
    return (
        "Its mistakes within a coarse label are taken to be as likely as those across coarse labels: where they are "
        "more, its class probabilities are too high."
    )
