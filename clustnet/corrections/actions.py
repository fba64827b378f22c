"""What a person can do with the subtypes of a run, as data: each action is one line of ``review.jsonl``.

Subtypes are named by their ids, as in ``ok/2``, and images by their files; both stay the same whatever else changes.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clustnet.bundles.bundle import MAX_NAME_CHARACTERS, first_fault
from clustnet.errors import UserError

# On an image's coarse label, on whether it lies far from all others, and on whether it nearly equals another.
Mark = Literal["wrong_label", "right_label", "outlier", "no_outlier", "duplicate", "no_duplicate"]
# Marks that leave an image out of training and of typical images, with the words for them.
LEAVING_OUT = {"wrong_label": "not of this coarse label", "outlier": "outlier", "duplicate": "near duplicate"}
# Used in place of an id, for a subtype that is still to be made.
NEW = "new"

File = Annotated[str, Field(min_length=1, max_length=4096)]
Files = Annotated[tuple[File, ...], Field(min_length=1, max_length=10**6)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS + 20)]


class Action(BaseModel):
    """Base of the actions: unknown keys are errors, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rename(Action):
    """A subtype gets a name; an empty name removes it."""

    verb: Literal["rename"] = "rename"
    subtype: Id
    name: Annotated[str, Field(max_length=MAX_NAME_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Merge(Action):
    """The first subtype takes the images of the others, which cease to exist."""

    verb: Literal["merge"] = "merge"
    subtypes: Annotated[tuple[Id, ...], Field(min_length=2)]


class Split(Action):
    """Images of a subtype go to new subtypes, given by their ids; the rest stay."""

    verb: Literal["split"] = "split"
    subtype: Id
    parts: Annotated[dict[Id, Files], Field(min_length=1)]


class Move(Action):
    """Images go to another subtype; if it has another coarse label, they get that label.

    ``to`` may be the next free id of a coarse label, in which case the subtype is made.
    """

    verb: Literal["move"] = "move"
    files: Files
    to: Id


class MarkImages(Action):
    """Images get a mark, which replaces an earlier one of the same kind."""

    verb: Literal["mark"] = "mark"
    files: Files
    mark: Mark


class Undo(Action):
    """The last action that holds is undone."""

    verb: Literal["undo"] = "undo"


class Redo(Action):
    """The last undone action is done again."""

    verb: Literal["redo"] = "redo"


Change = Rename | Merge | Split | Move | MarkImages
AnyAction = Change | Undo | Redo
ACTION: TypeAdapter[AnyAction] = TypeAdapter(Annotated[AnyAction, Field(discriminator="verb")])


def parse(content: Any) -> AnyAction:
    """Return the action in a dictionary that came from outside.

    Raises:
        UserError: the content is not an action.
    """
    try:
        return ACTION.validate_python(content)
    except ValidationError as error:
        raise UserError(f"This is not a review action: {first_fault(error)}.") from None
