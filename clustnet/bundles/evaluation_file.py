"""The ``evaluation.json`` of a bundle: the tables behind its scores, for pages and reports to draw.

Only bundles whose test images have fine classes contain one.
"""

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from clustnet.bundles.bundle import Bundle, Count, Manifest, Strict, first_fault
from clustnet.errors import UserError

EVALUATION = "evaluation.json"

Share = Annotated[float, Field(ge=0, le=1)]


class BudgetPoint(Strict):
    """Class accuracy over the draws of one budget: ``per_class`` labelled images of each class."""

    per_class: Annotated[int, Field(ge=1)]
    mean: Share
    least: Share
    greatest: Share


class BudgetCurve(Strict):
    """Class accuracy by number of labelled images; each point refits the class map on ``draws`` draws of ``data``."""

    data: str
    draws: Annotated[int, Field(ge=1)]
    points: Annotated[list[BudgetPoint], Field(min_length=1)]


class BundleEvaluation(Strict):
    """Counts over the ``images`` of ``data``, for example ``mnist:test``, by the run of ``seed``.

    ``confusion[true][guess]`` is [C, C] and ``experts[expert][true]`` is [E, C], by the most probable expert.
    """

    schema_version: Literal[1] = 1
    data: str
    images: Annotated[int, Field(ge=1)]
    seed: int
    confusion: list[list[Count]]
    experts: list[list[Count]]
    budget: BudgetCurve


def read_evaluation(bundle: Bundle) -> BundleEvaluation | None:
    """Return the evaluation in a bundle, or None for a bundle without one.

    Raises:
        UserError: the file is not an evaluation, or does not fit this bundle.
    """
    if EVALUATION not in bundle.manifest.files:
        return None
    path = bundle.path(EVALUATION)
    try:
        evaluation = BundleEvaluation.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is not an evaluation: {first_fault(error)}; export the run again.") from None
    if not _fits(evaluation, bundle.manifest):
        raise UserError(
            f"{path} has tables that do not fit the manifest's classes and experts, or its own number of images; "
            "export the run again."
        )
    return evaluation


def _fits(evaluation: BundleEvaluation, manifest: Manifest) -> bool:
    classes = len(manifest.subtypes)
    tables = ((evaluation.confusion, classes), (evaluation.experts, manifest.experts))
    return all(
        len(table) == rows and {len(row) for row in table} == {classes} and sum(map(sum, table)) == evaluation.images
        for table, rows in tables
    )
