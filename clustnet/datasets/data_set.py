"""How a data set describes itself to the registry in ``clustnet.datasets``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clustnet.datasets.labelled import LabelledImages


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Args:
        load: returns a split, ``train`` or ``test``, from a path, or from the embedded copy, if any, for None.
        classes: the names of the fine classes; empty if they are known only once the data are read.
        coarse: the coarse labels that come with the data, ``{label: [class, ...]}``; None if there are none.
        read_classes: returns the names of the fine classes from a path; set if they depend on it.
    """

    load: Callable[[str, Path | None], LabelledImages]
    classes: tuple[str, ...] = ()
    coarse: Mapping[str, Sequence[int | str]] | None = None
    read_classes: Callable[[Path | None], tuple[str, ...]] | None = None
