"""The model card: what a bundle is, how it was trained, how good it is and where it ends.

Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from clustnet.bundles.bundle import Manifest, Score
from training.recipe.recipe import Recipe

PER_EXPERT = "expert_load/"


def model_card(manifest: Manifest, recipe: Recipe, parity: float) -> str:
    """Return the card as Markdown.

    Args:
        manifest: the bundle's manifest.
        recipe: the recipe of the run.
        parity: the largest absolute difference between torch and the graphs.
    """
    return (
        "\n\n".join(
            [
                f"# {manifest.name}, version {manifest.version}",
                _what(manifest),
                f"## How it was trained\n\n{_how(manifest, recipe)}",
                f"## Scores\n\n{_scores(manifest)}",
                f"## What each cell stands for\n\n{_cells(manifest)}",
                f"## Limits\n\n{_limits(manifest, recipe, parity)}",
            ]
        ).rstrip()
        + "\n"
    )


def _what(manifest: Manifest) -> str:
    tells = "The routing"
    if manifest.grouping().divided:
        tells = f"It tells {' from '.join(map(repr, manifest.coarse_labels))}; the routing"
    return (
        f"A gate that routes each image to one of {manifest.experts} experts ({manifest.routing} routing). "
        f"{tells}, read through a class map, guesses one of "
        f"{len(manifest.fine_classes)} fine classes: {', '.join(manifest.fine_classes)}."
    )


def _how(manifest: Manifest, recipe: Recipe) -> str:
    labels = "with coarse labels alone" if manifest.grouping().divided else "without any label"
    return (
        f"Method `{manifest.method}` on the training split of {recipe.data.name}, {labels}, "
        f"seed {recipe.seed}. The class map was fitted on {manifest.class_map.reference_images} labelled images "
        f"of {manifest.class_map.data}; this run used no other fine label.\n\n"
        f"{_certainty(manifest)}{_drift(manifest)}\n\n```yaml\n{recipe.to_yaml()}```"
    )


def _certainty(manifest: Manifest) -> str:
    calibration, abstention = manifest.calibration, manifest.abstention
    logits = " and the chosen expert's logit" if manifest.routing == "hard" else " and the experts' logits"
    logits = "" if manifest.method == "deep_clustering" else logits  # whose experts say the same of every image
    fitted = (
        f"the temperature {calibration.temperature:.3f}, fitted on the coarse labels of {calibration.images:,} images"
    )
    if calibration.images == 0:
        fitted = "the temperature 1, as there are no coarse labels to fit it on"
    else:
        fitted += f" of {calibration.data}"
    return (
        f"The class probabilities have {fitted}. The confidence is 1 / (1 + d), where d is the mean "
        f"squared, whitened distance of the gate's embedding{logits} to the nearest "
        f"cell's mean; "
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


def _scores(manifest: Manifest) -> str:
    shown = [score for score in manifest.scores if not score.name.startswith(PER_EXPERT)]
    first = manifest.scores[0]
    lines = [
        f"One run, seed {first.seed}, on the {first.images:,} images of the {first.split} split.",
        "",
        "| score | value | protocol |",
        "|---|---|---|",
        *(f"| {score.name} | {score.value:.4f} | {score.protocol} |" for score in shown),
        "",
        f"Expert load: {_load(manifest.scores)}.",
    ]
    return "\n".join(lines)


def _load(scores: list[Score]) -> str:
    return ", ".join(f"{score.value:.3f}" for score in scores if score.name.startswith(PER_EXPERT))


def _cells(manifest: Manifest) -> str:
    columns = manifest.coarse_labels
    lines = ["| expert | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for expert, pair in enumerate(manifest.class_map.values):
        best = [max(range(len(row)), key=row.__getitem__) for row in pair]
        cells = [f"{manifest.fine_classes[c]} ({row[c]:.2f})" for c, row in zip(best, pair, strict=True)]
        lines.append(f"| {expert} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nThe most probable class of each cell, with its share in the class map."


def _limits(manifest: Manifest, recipe: Recipe, parity: float) -> str:
    shape = "x".join(str(side) for side in manifest.input.shape)
    return (
        f"It reads uint8 images of {shape} ({manifest.input.meaning}) like those of {recipe.data.name}, and answers "
        "for any other image as well; `abstain` tells only some of these, and how many depends on their kind. "
        f"{_mistakes(manifest)} The scores are of one run; other seeds differ, see the recipe's header. "
        f"The graphs agree with the trained model within {parity:.1e}."
    )


def _mistakes(manifest: Manifest) -> str:
    if not manifest.grouping().divided:
        return "Its class probabilities are not calibrated, as there are no coarse labels: they are the clusters' own."
    return (
        "Its mistakes within a coarse group are taken to be as likely as those across the groups: where they are more, "
        "its class probabilities are too sure."
    )
