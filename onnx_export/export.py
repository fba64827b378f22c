"""From a run to a bundle: class map, graphs, parity, scores, model card, manifest."""

import math
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from clustnet.bundle import MANIFEST, ClassMap, InputSpec, Manifest, Name, Score
from clustnet.class_map import class_probability, draw_reference, fit_class_map
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import replacing_folder, sha256_of
from clustnet.scores import routing_scores
from onnx_export.graphs import OPSET, Mixture, write_graphs
from onnx_export.model_card import model_card
from onnx_export.parity import check_parity
from training.data import load_split
from training.inference import Routed, route
from training.models.mixture import MixtureOfExperts
from training.recipe import Recipe
from training.run_folder import RunFolder

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        manifest: the bundle's manifest.
        parity: the largest absolute difference between torch and the graphs.
    """

    manifest: Manifest
    parity: float


def export(run: Path, out: Path, name: str | None = None, version: str = "1") -> Exported:
    """Turn the last epoch of a run into a bundle, which appears whole or not at all.

    Args:
        run: the run's folder.
        out: the bundle's folder; an earlier bundle there is replaced.
        name: the model's name (default: the bundle folder's).
        version: the model's version.

    Raises:
        UserError: ``run`` is no run with a finished epoch, its data are missing, ``out`` is no bundle, or
            ``name`` or ``version`` is no plain word.
        ParityError: the graphs disagree with the trained model.
    """
    name = name or out.resolve().name
    _check_plain_word(name, "--name")
    _check_plain_word(version, "--version")
    if out.exists() and not (out / MANIFEST).is_file():
        raise UserError(f"{out} exists and is no bundle; choose another --out or remove it.")
    folder = RunFolder.kept(run)
    recipe = folder.recipe()
    train, test = (load_split(recipe.data, split) for split in ("train", "test"))
    model = load_model(folder, recipe, train)
    class_map = fit_reference(model, recipe, train)
    mixture = Mixture(model, torch.from_numpy(class_map.array()), recipe.routing == "hard").eval()
    scores = score_test(model, recipe, test, class_map.array())
    with replacing_folder(out) as bundle:
        write_graphs(bundle, model, mixture, train.images.shape[1:])
        parity = check_parity(bundle, mixture, test.images)
        manifest = _manifest(name, version, recipe, train, class_map, scores, _hashes(bundle))
        (bundle / "README.md").write_text(model_card(manifest, recipe, parity), encoding="utf-8")
        manifest = manifest.model_copy(update={"files": _hashes(bundle)})
        (bundle / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Exported(manifest, parity)


def _check_plain_word(word: str, option: str) -> None:
    """Refuse before the long work what the manifest would refuse after it."""
    try:
        TypeAdapter(Name).validate_python(word)
    except ValidationError:
        raise UserError(
            f"The {option} {word!r} must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit."
        ) from None


def _manifest(
    name: str,
    version: str,
    recipe: Recipe,
    train: LabelledImages,
    class_map: ClassMap,
    scores: list[Score],
    files: dict[str, str],
) -> Manifest:
    grouping = recipe.data.grouping()
    return Manifest(
        schema_version=1,
        name=name,
        version=version,
        method=recipe.method,
        routing=recipe.routing,
        created=datetime.now(UTC).replace(microsecond=0),
        source_commit=_source_commit(),
        config_hash=recipe.digest(),
        opset=OPSET,
        input=_input_spec(train),
        coarse_labels=grouping.labels,
        coarse_groups=grouping.groups,
        experts=recipe.model.experts,
        fine_classes=train.classes,
        class_map=class_map,
        scores=scores,
        files=files,
    )


def load_model(folder: RunFolder, recipe: Recipe, train: LabelledImages) -> MixtureOfExperts:
    """Return the mixture of a run's last finished epoch, in evaluation mode on the CPU.

    Raises:
        UserError: the run has no finished epoch, or its checkpoint is damaged.
    """
    model = MixtureOfExperts(recipe.model, train.images.shape[1:], train.mean, train.std)
    model.load_state_dict(folder.load_checkpoint(folder.last_epoch())["model"])
    return model.eval()


def fit_reference(model: MixtureOfExperts, recipe: Recipe, train: LabelledImages) -> ClassMap:
    """Draw the reference images from the training split and fit the class map on their labels.

    Raises:
        UserError: a class has fewer training images than the recipe asks for.
    """
    counts = np.bincount(train.labels, minlength=len(train.classes))
    if counts.min() < recipe.reference.per_class:
        raise UserError(
            f"The class {train.classes[counts.argmin()]!r} has {counts.min()} training images, but "
            f"reference.per_class asks for {recipe.reference.per_class}; lower it or train on more images."
        )
    indices = draw_reference(train.labels, recipe.reference.per_class, recipe.reference.seed)
    routed = route(model, train.images[indices], recipe.routing == "hard")
    fitted = fit_class_map(routed.weights, routed.expert_probability, train.labels[indices], len(train.classes))
    return ClassMap(
        values=fitted.tolist(),
        data=f"{train.name}:{train.split}",
        reference_images=len(indices),
        reference_indices=indices.tolist(),
    )


def score_test(
    model: MixtureOfExperts, recipe: Recipe, test: LabelledImages, class_map: NDArray[np.float64]
) -> list[Score]:
    """Score the model on the test split, with every figure's protocol; what no image can show is left out."""
    routed, grouping = route(model, test.images, recipe.routing == "hard"), recipe.data.grouping()
    values = routing_scores(routed.routing, routed.positive_probability, test.labels, grouping)
    values["class_accuracy"] = _class_accuracy(routed, test, class_map)
    return [
        Score(
            name=name,
            value=value,
            split=test.split,
            images=len(test),
            protocol=_protocol(name, recipe),
            seed=recipe.seed,
        )
        for name, value in values.items()
        if math.isfinite(value)
    ]


def _class_accuracy(routed: Routed, test: LabelledImages, class_map: NDArray[np.float64]) -> float:
    guesses = class_probability(routed.weights, routed.expert_probability, class_map).argmax(axis=1)
    return float((guesses == test.labels).mean())


def _protocol(name: str, recipe: Recipe) -> str:
    if name == "class_accuracy":
        return f"class map fitted on {recipe.reference.per_class} training images per class"
    if name.startswith("group_accuracy/"):
        return "Hungarian matching of experts to the fine classes of one true coarse label"
    if name == "cell_accuracy":
        return "Hungarian matching of cells to fine classes"
    return "no matching"


def _input_spec(train: LabelledImages) -> InputSpec:
    grey = train.images.ndim == 3
    return InputSpec(
        shape=train.images.shape[1:],
        meaning="0 = paper, 255 = ink" if grey else "RGB, 0 to 255",
        preparation="mnist" if train.name == "mnist" else "resize",
    )


def _hashes(bundle: Path) -> dict[str, str]:
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): sha256_of(path) for path in files}


def _source_commit() -> str | None:
    """Return the commit that this code stands at, marked if it was changed since, or None outside git."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
