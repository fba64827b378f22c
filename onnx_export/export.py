"""From a run to a bundle: what is fitted after training, graphs, parity, scores, tables, model card, manifest."""

import json
import math
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from clustnet.bundles.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Abstention,
    DriftReference,
    InputSpec,
    Manifest,
    Name,
    Score,
)
from clustnet.bundles.class_map import class_mapping
from clustnet.bundles.evaluation_file import EVALUATION
from clustnet.bundles.predictor import Predictions
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import replacing_folder, sha256_of
from clustnet.scores.scores import reliability, routing_scores
from onnx_export.drift_reference import fit_reference_of_drift
from onnx_export.fitting import Fitted, fit
from onnx_export.graphs import OPSET, predict, write_graphs
from onnx_export.model_card import model_card
from onnx_export.parity import check_parity
from onnx_export.tables import evaluate
from training.data.data import load_reference, load_split
from training.models.build import build_model
from training.models.mixture import GatedExperts
from training.recipe.recipe import AUTO, Recipe
from training.runs.run_folder import RunFolder

CLASS_MAPPINGS = "class_mappings.json"
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
    fitted = fit(model, recipe, train)
    mixture = fitted.mixture(model, recipe.routing == "hard")
    found = predict(mixture, test.images)
    drift = fit_reference_of_drift(mixture, recipe, train)
    scores = score_test(found, recipe, test, fitted.abstention)
    named = load_reference(recipe.data, train)
    evaluation = evaluate(found, test, model, recipe, named) if test.labelled else None
    with replacing_folder(out) as bundle:
        write_graphs(bundle, model, mixture, train.images.shape[1:])
        parity = check_parity(bundle, mixture, test.images, found)
        if evaluation is not None:
            (bundle / EVALUATION).write_text(evaluation.model_dump_json() + "\n", encoding="utf-8")
        if not recipe.data.grouping().divided:
            mapping = class_mapping(fitted.class_map.array()[:, 0], train.classes)
            (bundle / CLASS_MAPPINGS).write_text(json.dumps(mapping, indent=1) + "\n", encoding="utf-8")
        manifest = _manifest(name, version, recipe, train, fitted, drift, scores, _hashes(bundle))
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
    fitted: Fitted,
    drift: DriftReference,
    scores: list[Score],
    files: dict[str, str],
) -> Manifest:
    grouping = recipe.data.grouping()
    return Manifest(
        schema_version=SCHEMA_VERSION,
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
        experts=len(fitted.class_map.values),
        fine_classes=train.classes,
        class_map=fitted.class_map,
        calibration=fitted.calibration,
        abstention=fitted.abstention,
        drift=drift,
        scores=scores,
        files=files,
    )


def load_model(folder: RunFolder, recipe: Recipe, train: LabelledImages) -> GatedExperts:
    """Return the mixture of a run's last finished epoch, in evaluation mode on the CPU.

    Raises:
        UserError: the run has no finished epoch, or its checkpoint is damaged.
    """
    state = folder.load_checkpoint(folder.last_epoch())["model"]
    if recipe.model.experts == AUTO:
        recipe = recipe.with_experts(len(state["centroids"]))
    model = build_model(recipe, train.images.shape[1:], train.mean, train.std)
    model.load_state_dict(state)
    return model.eval()


def score_test(found: Predictions, recipe: Recipe, test: LabelledImages, abstention: Abstention) -> list[Score]:
    """Score predictions of the test split, with every figure's protocol; what no image can show is left out."""
    values = routing_scores(found.routing, found.positive_probability, test.labels, recipe.data.grouping())
    if test.labelled:
        right = found.class_probability.argmax(axis=1) == test.labels
        values["class_accuracy"] = float(right.mean())
        values["calibration_error"] = reliability(found.class_probability.max(axis=1), right).error
    values["abstained"] = float(abstention.refuses(found.confidence).mean())
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


def _protocol(name: str, recipe: Recipe) -> str:
    if name == "class_accuracy" and recipe.data.name == "folder":
        return "class map fitted on the images of reference/"
    if name == "class_accuracy":
        return f"class map fitted on {recipe.reference.per_class} training images per class"
    if name == "calibration_error":
        fitted = "fitted on coarse labels of training images" if recipe.data.coarse else "1"
        return f"15 bins of the guess's probability; temperature {fitted}"
    if name == "abstained":
        return "share of images under the confidence threshold, which was fitted on training images"
    if name.startswith("group_accuracy/"):
        return "Hungarian matching of experts to the fine classes of one true coarse label"
    if name == "cell_accuracy":
        return "Hungarian matching of cells to fine classes"
    return "no matching"


def _input_spec(train: LabelledImages) -> InputSpec:
    if train.name == "mnist":
        return InputSpec(shape=(28, 28), meaning="0 = paper, 255 = ink", preparation="mnist")
    meaning = "grey, 0 to 255" if train.images.ndim == 3 else "RGB, 0 to 255"
    return InputSpec(shape=train.images.shape[1:], meaning=meaning, preparation="resize")


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
