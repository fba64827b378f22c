"""The fine classes behind each coarse label, where no manifest tells them."""

import re
from collections.abc import Collection, Sequence

from clustnet.bundles.groups import WHOLE, CoarseGrouping
from clustnet.errors import UserError

RANGE = re.compile(r"(\d{1,4})-(\d{1,4})")
FORM = "--coarse 'LABEL=CLASS,CLASS,...;LABEL=CLASS,...'"


def parse_coarse(text: str, classes: Sequence[str]) -> CoarseGrouping:
    """Read ``LABEL=CLASS,CLASS,...;LABEL=CLASS,...``.

    Args:
        text: what the user wrote.
        classes: the names of the fine classes, in the order of their indices.

    Raises:
        UserError: another form, an unknown class, or not each class once.
    """
    mapping = {}
    for group in text.split(";"):
        label, equals, names = group.partition("=")
        if not equals:
            raise UserError(f"The groups {text!r} must read {FORM}.")
        mapping[label.strip()] = [_index(name.strip(), classes) for name in names.split(",")]
    return CoarseGrouping.from_mapping(mapping, len(classes))


def grouping_from_labels(labels: Collection[str], classes: int) -> CoarseGrouping:
    """Read the groups from two labels of the form ``FIRST-LAST``, as in ``0-4`` and ``5-9``, or from none, ``all``.

    Args:
        labels: the coarse labels, in any order.
        classes: the number of fine classes.

    Raises:
        UserError: the labels do not tell the groups.
    """
    if set(labels) == {WHOLE}:
        return CoarseGrouping.whole(classes)
    ranges = {label: RANGE.fullmatch(label) for label in sorted(labels)}
    mapping = {label: range(int(found[1]), int(found[2]) + 1) for label, found in ranges.items() if found is not None}
    try:
        return CoarseGrouping.from_mapping(mapping, classes)
    except UserError:
        listed = " and ".join(repr(label) for label in sorted(labels))
        raise UserError(
            f"The coarse labels {listed} do not tell which of the {classes} classes they stand for; say so with {FORM}."
        ) from None


def by_first_class(grouping: CoarseGrouping) -> CoarseGrouping:
    """Return the same groups in the order of their first class.

    A service does not say which of its labels is the positive one; scores must not depend on it.
    """
    if not grouping.divided:
        return grouping
    (label_a, a), (label_b, b) = sorted(
        zip(grouping.labels, grouping.groups, strict=True), key=lambda pair: min(pair[1])
    )
    return CoarseGrouping((label_a, label_b), (a, b))


def _index(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise UserError(f"--coarse names the class {name!r}; the data has {', '.join(classes)}.")
    return list(classes).index(name)
