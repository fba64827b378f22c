"""The model card of a tree: what it tells apart, how it was trained, how good it is and what its limits are."""

from clustnet.bundles.bundle import Manifest
from onnx_export.model_card import leakage
from training.grow.config import GrowRecipe


def tree_card(manifest: Manifest, recipe: GrowRecipe, parity: float) -> str:
    """Return the card as Markdown.

    Args:
        manifest: the bundle's manifest.
        recipe: the recipe of the run.
        parity: the largest absolute difference between torch and the graphs.
    """
    encoder = ""
    if manifest.encoder is not None:
        encoder = (
            f"\n\nIt reads the embeddings of the frozen encoder {manifest.encoder.name} (licence: "
            f"{manifest.encoder.licence}), which {leakage(manifest.encoder.trained_on)}"
        )
    return f"""# {manifest.name}, version {manifest.version}

A tree of modules that leads from {" or ".join(manifest.coarse_labels)} to one of {len(manifest.subtypes)} classes: \
{", ".join(manifest.class_names)}. At each node it goes on to the most probable child, and the answer's `path` has \
each label on the way with its probability.

## How it was trained

By `clustnet grow` with the labels of every level, seed {recipe.seed}, mode `{recipe.mode}`. In mode `frozen` a module \
that is added below leaves the answers of all nodes above bit by bit as they were.{encoder}

```yaml
{recipe.to_yaml()}```

## The tree

{_tree(manifest)}

## Scores

One run, on the {manifest.scores[0].images:,} images of the {manifest.scores[0].split} split.

| score | value | protocol |
|---|---|---|
{_scores(manifest)}

## Limits

`mixture.onnx` computes all modules, `conditional.onnx` only those on the way. Their `path`, coarse labels and guess \
are the same, but below labels off that way the latter splits the probability equally. Probabilities \
are not calibrated. It answers for any image, and `abstain` marks only some of those that it was not made for. The \
graphs agree with the trained model within {parity:.1e}.
"""


def _tree(manifest: Manifest) -> str:
    lines = []
    children: dict[int, list[int]] = {}
    for place, label in enumerate(manifest.tree or ()):
        children.setdefault(label.parent, []).append(place)

    def add(parent: int, depth: int) -> None:
        for place in children.get(parent, []):
            name = (manifest.tree or ())[place].name.rpartition("/")[2]
            lines.append(f"{'  ' * depth}* {name}")
            add(place, depth + 1)

    add(-1, 0)
    return "\n".join(lines)


def _scores(manifest: Manifest) -> str:
    return "\n".join(f"| {score.name} | {score.value:.4f} | {score.protocol} |" for score in manifest.scores)
