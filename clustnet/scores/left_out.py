"""Which scores the data do not allow, and why, in sentences."""

from collections.abc import Collection, Iterator, Sequence

from clustnet.scores.registry import ScoreDefinition, definition, title

# What an evaluation measures where the truth is known.
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
    """Yield a sentence for each reason for which scores are left out.

    Args:
        scores: the keys of the scores that were measured.
        coarse_labels: the names of the K coarse labels.
        names: the scores, as the registry names them, that are measured where the data allow it.
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
    """Return which scores are left out for what reason."""
    *others, last = [found.title.removesuffix(" {}") for found in definitions]
    # A title keeps its capitals inside a sentence only where it is an abbreviation.
    words = [name if name.isupper() else name[0].lower() + name[1:] for name in (*others, last)]
    listed = f"{', '.join(words[:-1])} and {words[-1]}" if others else words[-1]
    return f"{listed[0].upper()}{listed[1:]} {'are' if others else 'is'} left out, because {why}."


def partly_known(known: int, total: int, what: str) -> str | None:
    """Return a sentence where the truth is known for some images alone, otherwise None.

    Args:
        known: images of known truth.
        total: all images.
        what: what the truth is, ``class`` or ``coarse label``.
    """
    if known in (0, total):
        return None
    return f"Scores that need the true {what} count the {known:,} of {total:,} images for which it is known."
