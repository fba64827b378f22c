"""What ``/model.json`` tells of the model: its manifest without file names, and the evaluation it carries."""

from typing import Any

from clustnet.bundles.bundle import Bundle, Manifest
from clustnet.bundles.evaluation_file import read_evaluation

DIGITS = "mnist"  # the data set that the page's strip of test digits is from


def card_of(bundle: Bundle) -> dict[str, Any]:
    """Return the card of a bundle, ready for JSON.

    Raises:
        UserError: the bundle carries an evaluation that cannot be used.
    """
    manifest = bundle.manifest
    unneeded = {"schema_version": True, "files": True, "class_map": {"reference_indices"}}
    evaluation = read_evaluation(bundle)
    return {
        **manifest.model_dump(mode="json", exclude=unneeded),  # type: ignore[arg-type]
        "evaluation": evaluation and evaluation.model_dump(mode="json"),
        "reads_digits": reads_digits(manifest),
    }


def reads_digits(manifest: Manifest) -> bool:
    """Tell whether the model was made for MNIST, so that its test digits can be offered to it."""
    name, _, _ = manifest.class_map.data.partition(":")
    return name == DIGITS and manifest.input.preparation == "mnist"
