"""From a run to a bundle: what is fitted after training, graphs, parity, scores, tables, model card, manifest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from clustnet.bundles.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    DriftReference,
    Manifest,
    Name,
    Score,
)
from clustnet.bundles.class_map import class_mapping, guesses
from clustnet.bundles.evaluation_file import EVALUATION
from clustnet.bundles.predictor import Predictions
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import replacing_folder
from clustnet.scores.registry import definition
from clustnet.scores.scores import reliability, routing_scores
from onnx_export.bundle_parts import hashes, source_commit
from onnx_export.drift_reference import fit_drift_reference
from onnx_export.examples import write_examples
from onnx_export.fitting import Fitted, spread
from onnx_export.front import Front
from onnx_export.graph_files import OPSET
from onnx_export.graphs import predict, write_graphs
from onnx_export.inputs import Inputs, source_of
from onnx_export.model_card import model_card
from onnx_export.parity import check_parity
from onnx_export.tables import evaluate
from onnx_export.trained import Trained
from onnx_export.tree import export_tree
from training.grow.run import is_grown
from training.recipe.recipe import BaseRecipe

CLASS_MAPPINGS = "class_mappings.json"
# How many images are compared with torch if the bundle has an encoder.
EMBEDDED_IMAGES = 32


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        manifest: the bundle's manifest.
        parity: the largest absolute difference between torch and the graphs.
        notes: sentences on what the review has that the model does not know yet.
    """

    manifest: Manifest
    parity: float
    notes: tuple[str, ...] = ()


def export(
    run: Path, out: Path, name: str | None = None, version: str = "1", examples: bool = True, epoch: str = "last"
) -> Exported:
    """Turn an epoch of a run into a bundle, which appears whole or not at all.

    Parity is checked on the test split, or on training images if there is none; with an encoder, on only a few.

    Args:
        run: the run's folder.
        out: the bundle's folder; an earlier bundle there is replaced.
        name: the model's name; by default that of the bundle's folder.
        version: the model's version.
        examples: whether the bundle holds some training images of each subtype.
        epoch: ``last``, ``best`` by the label-free score, or a number; only ``last`` for a run of ``clustnet grow``.

    Raises:
        UserError: ``run`` is not a run with a finished epoch, it has no checkpoint of ``epoch``, its data are missing,
            ``out`` is not a bundle, or ``name`` or ``version`` is not a plain word.
        ParityError: the graphs disagree with the trained model.
    """
    name = name or out.resolve().name
    _check_options(out, name, version)
    if is_grown(run):
        if epoch != "last":
            raise UserError("A run of 'clustnet grow' keeps only the last state of each module; leave out --epoch.")
        return Exported(*export_tree(run, out, name, version))
    return write_bundle(Trained.of(run, epoch), out, name, version, examples)


def write_bundle(trained: Trained, out: Path, name: str, version: str = "1", examples: bool = True) -> Exported:
    """Write the bundle of a trained model; arguments and errors are those of ``export``."""
    _check_options(out, name, version)
    recipe, model, inputs, named = trained.recipe, trained.model, trained.inputs, trained.named
    train, test = inputs.train, inputs.test
    fitted = trained.fitted()
    mixture = fitted.mixture(model, recipe.hard)
    shown = spread(train) if test is None else test
    found = predict(mixture, shown.images)
    membership = fitted.subtypes.membership()
    drift = fit_drift_reference(mixture, membership, recipe.data.validation_images, train, inputs.pixels)
    scores = [] if test is None else score_test(found, recipe, test, fitted)
    evaluation = None
    if test is not None and test.labelled and named is not None:
        evaluation = evaluate(found, test, model, recipe, named, membership)
    with replacing_folder(out) as bundle:
        front = None if inputs.encoder is None else Front.of(inputs.encoder)
        write_graphs(bundle, model, mixture, train.images.shape[1:], front)
        if inputs.encoder is None:
            parity = check_parity(bundle, mixture, shown.images, found)
        else:
            # Every graph embeds every image again, which takes long.
            images = next(inputs.pixels(shown.first(EMBEDDED_IMAGES)))
            parity = check_parity(bundle, mixture, images, predict(mixture, inputs.encoder.embed(images)))
        if examples:
            some = spread(train)
            write_examples(bundle, inputs, some, predict(mixture, some.images), membership)
        if evaluation is not None:
            _write(bundle / EVALUATION, evaluation.model_dump_json())
        if named is not None and len(train.coarse_labels) == 1:
            mapping = class_mapping(fitted.subtypes.class_map.array()[:, 0], named.classes)
            _write(bundle / CLASS_MAPPINGS, json.dumps(mapping, indent=1))
        manifest = _manifest(name, version, recipe, inputs, fitted, drift, scores, hashes(bundle))
        card = model_card(manifest, recipe, test, model.experts_learn, parity)
        (bundle / "README.md").write_text(card, encoding="utf-8")
        manifest = manifest.model_copy(update={"files": hashes(bundle)})
        _write(bundle / MANIFEST, manifest.model_dump_json(indent=1))
    return Exported(manifest, parity, fitted.notes)


def _check_options(out: Path, name: str, version: str) -> None:
    """Raise, before the long work, if the manifest or the folder would be refused after it."""
    for option, word in (("--name", name), ("--version", version)):
        try:
            TypeAdapter(Name).validate_python(word)
        except ValidationError:
            raise UserError(
                f"The {option} {word!r} must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or "
                "digit."
            ) from None
    if out.exists() and not (out / MANIFEST).is_file():
        raise UserError(f"{out} exists and is not a bundle; choose another --out or remove it.")


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def _manifest(
    name: str,
    version: str,
    recipe: BaseRecipe,
    inputs: Inputs,
    fitted: Fitted,
    drift: DriftReference,
    scores: list[Score],
    files: Mapping[str, str],
) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=version,
        method=recipe.method,
        routing="hard" if recipe.hard else "soft",
        created=datetime.now(UTC).replace(microsecond=0),
        source_commit=source_commit(),
        config_hash=recipe.digest(),
        opset=OPSET,
        input=inputs.input,
        coarse_labels=inputs.train.coarse_labels,
        experts=len(fitted.subtypes.class_map.values),
        subtypes=fitted.subtypes.subtypes,
        class_map=fitted.subtypes.class_map,
        calibration=fitted.calibration,
        abstention=fitted.abstention,
        encoder=source_of(inputs.encoder),
        drift=drift,
        scores=scores,
        files=dict(files),
    )


def score_test(found: Predictions, recipe: BaseRecipe, test: LabelledImages, fitted: Fitted) -> list[Score]:
    """Return the scores that the test split allows, each with its protocol."""
    values = routing_scores(found.routing, found.coarse_probability, test.coarse, test.fine, test.coarse_labels)
    # The subtypes are the fine classes only where reference images name them.
    if test.labelled and fitted.subtypes.class_map.kind == "references":
        guess = guesses(found.coarse_probability, found.class_probability, fitted.subtypes.membership())
        right = guess == test.fine
        values["class_accuracy"] = float(right.mean())
        probability = np.take_along_axis(found.class_probability, guess[:, None], axis=1)[:, 0]
        values["calibration_error"] = reliability(probability, right).error
    values["abstained"] = float(fitted.abstention.refuses(found.confidence).mean())
    return [
        Score(
            name=name,
            value=value,
            split=test.split,
            images=len(test),
            protocol=_protocol(name, fitted),
            seed=recipe.seed,
        )
        for name, value in values.items()
    ]


def _protocol(name: str, fitted: Fitted) -> str:
    """Return how a score was measured, with what is particular to this bundle."""
    protocol, class_map = definition(name).protocol, fitted.subtypes.class_map
    if name == "class_accuracy":
        return f"{protocol}; class map fitted on {class_map.reference_images} images of {class_map.data}"
    if name == "calibration_error":
        how = "fitted on coarse labels of training images" if fitted.calibration.images else "1"
        return f"{protocol}; temperature {how}"
    return protocol
