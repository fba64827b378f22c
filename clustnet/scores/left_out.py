"""Sentences that say which scores the data do not allow, and why."""

from collections.abc import Collection, Iterator, Sequence

from clustnet.scores.registry import ScoreDefinition, definition, title

# The scores that an evaluation measures where the truth is known.
EVALUATED = (
    "class_accuracy",
    "coarse_accuracy",
    "group_accuracy/LABEL",
    "cell_accuracy",
    "purity",
    "nmi",
    "ari",
    "negative_log_likelihood",
    "calibration_error",
    "coarse_calibration_error",
)
GROUP = "group_accuracy"


def left_out(scores: Collection[str], coarse_labels: Sequence[str], names: Sequence[str] = EVALUATED) -> Iterator[str]:
    """Yield a sentence for each reason why scores are left out.

    Args:
        scores: the keys of the scores that were measured.
        coarse_labels: the names of the K coarse labels.
        names: the names in the registry of the scores that are measured where the data allow it.
    """
    definitions = [definition(name) for name in names]
    missing = [found for found in definitions if not any(definition(key) is found for key in scores)]
    undivided = [found for found in missing if found.divided and len(coarse_labels) == 1]
    others = [found for found in missing if found not in undivided]
    if undivided:
        yield _sentence(undivided, "there is only one coarse label")
    for truth, what in (("coarse", "coarse label"), ("fine", "class")):
        lacking = [found for found in others if found.needs == truth]
        if lacking:
            yield _sentence(lacking, f"no image has a known true {what}")
    unseen = [label for label in coarse_labels if f"{GROUP}/{label}" not in scores]
    if len(unseen) < len(coarse_labels):
        for name in (title(f"{GROUP}/{label}") for label in unseen):
            yield f"{name} is left out, because no image of this coarse label has a known true class."


def _sentence(definitions: Sequence[ScoreDefinition], why: str) -> str:
    """Return a sentence that says which scores are left out and why."""
    *others, last = [found.title.removesuffix(" {}") for found in definitions]
    # Inside a sentence a title keeps its capitals only if it is an abbreviation.
    words = [name if name.isupper() else name[0].lower() + name[1:] for name in (*others, last)]
    listed = f"{', '.join(words[:-1])} and {words[-1]}" if others else words[-1]
    return f"{listed[0].upper()}{listed[1:]} {'are' if others else 'is'} left out, because {why}."


def partly_known(known: int, total: int, what: str) -> str | None:
    """Return a sentence if the truth is known for only some images, otherwise None.

    Args:
        known: number of images whose truth is known.
        total: number of all images.
        what: what the truth is, ``class`` or ``coarse label``.
    """
    if known in (0, total):
        return None
    return f"Scores that need the true {what} count the {known:,} of {total:,} images for which it is known."
