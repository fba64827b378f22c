"""What the shared loop expects of every method."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from clustnet.errors import UserError
from training.models.mixture import GatedExperts

State = dict[str, Any]
Network = TypeVar("Network", bound=GatedExperts, covariant=True)
T = TypeVar("T")


class Progress(Protocol):
    """Wraps an epoch's batches to show their progress."""

    def __call__(self, batches: Iterable[T], total: int) -> Iterable[T]:
        """Return ``batches``, of which there are ``total``."""


class EpochLosses(NamedTuple):
    """One finished epoch.

    Args:
        epoch: its number, from 1.
        stage: its name in the scores.
        loss: mean training loss, in nats.
        figures: further figures of the epoch, by column of the scores; the columns are the same in each epoch.
    """

    epoch: int
    stage: str
    loss: float
    figures: Mapping[str, float] = MappingProxyType({})


class DivergedError(UserError):
    """The training diverged; with other random numbers it might not have."""


class Method(Protocol[Network]):
    """A way to train a gate and its experts."""

    @property
    def model(self) -> Network:
        """What is scored and exported."""

    @property
    def epochs(self) -> int:
        """The number of epochs."""

    def run(self, start: int, progress: Progress) -> Iterator[EpochLosses]:
        """Train from epoch ``start + 1`` to the last, or until there is nothing more to learn, and yield after each.

        A method may yield after every few epochs; only those are scored and kept, and the last is one of them.

        Raises:
            UserError: the data or the recipe cannot be trained; a ``DivergedError`` if the weights overflow.
        """

    def state(self) -> State:
        """Return everything that training goes on from, as tensors and plain values.

        ``network`` is the spec of the model, as ``training.models.spec`` dumps it, and ``model`` its weights.
        """

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned."""
