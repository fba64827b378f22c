"""Admission: under overload, requests that compute are refused while they are read, before much is spent on them."""

from collections.abc import Callable

from serving.headers import header
from serving.request_log import REQUEST_ID_FIELD, choose_id
from serving.turns import MOST_RUNNING, MOST_WAITING, RETRY_SECONDS, busy

ROOM = MOST_RUNNING + MOST_WAITING  # past as many TakeTurns refuses too
ANSWER = (  # made by hand, as a Response would cost more
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: {}\r\n"
    "{}: {}\r\ncontent-length: {}\r\n\r\n{}"
)


class Admission:
    """How many requests of this worker are whole and not yet answered, and whether another may come.

    To refuse one in ``TakeTurns`` costs a third of a small prediction, so that at three times the top load a worker
    would do little else.

    Args:
        computes: tells by its path whether a request computes; all others are admitted.
        refused: called with the path of each that is refused, to count it.
        most: how many there may be.
        changed: called with how many there are now, whenever that changes.
    """

    def __init__(
        self,
        computes: Callable[[str], bool],
        refused: Callable[[str], None],
        most: float = ROOM,
        changed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.computes = computes
        self.most = most
        self.count = 0
        self._refused = refused
        self._changed = changed

    @property
    def full(self) -> bool:
        """Tell whether the next request that computes must be refused."""
        return self.count >= self.most

    def move(self, change: int) -> None:
        """Note that so many more, or fewer, are whole and not yet answered."""
        if change:
            self.count += change
            self._changed(self.count)

    def refusal(self, path: str, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the answer to a request that is not admitted, in bytes, and count it."""
        self._refused(path)
        request_id = choose_id(header(headers, REQUEST_ID_FIELD) or "")
        body = f'{{"error":"{busy(self.count)}"}}'
        return ANSWER.format(RETRY_SECONDS, REQUEST_ID_FIELD.decode(), request_id, len(body), body).encode()
