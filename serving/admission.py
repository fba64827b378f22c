"""Admission: under overload, requests that compute are refused while they are read, before much is spent on them."""

from collections.abc import Callable
from http import HTTPStatus

from serving.early_answers import CLOSE_FIELD, RETRY_FIELD, early_answer
from serving.headers import REQUEST_ID, Fields, header
from serving.refusals import try_again
from serving.turns import MAX_RUNNING_REQUESTS, MAX_WAITING_REQUESTS, busy

# Above it TakeTurns refuses, too.
MAX_ADMITTED = MAX_RUNNING_REQUESTS + MAX_WAITING_REQUESTS


class Admission:
    """How many requests of this worker are whole and being answered, one a connection, and whether another may come.

    To refuse one in ``TakeTurns`` costs a third of a small prediction, so that at three times the top load a worker
    would do little else.

    Args:
        computes: returns for a path whether its POST requests compute; all others are admitted and not counted.
        refused: called with the path of each request that is refused, to count it.
        limit: how many there may be.
        changed: called with how many there are now, whenever that changes.
        fields: returns more headers for the answer to a request with these, in lines that each end with CRLF.
        lets_in: returns for a path and the headers whether the API key allows the request; others are not counted.
    """

    def __init__(
        self,
        computes: Callable[[str], bool],
        refused: Callable[[str], None],
        limit: int = MAX_ADMITTED,
        changed: Callable[[int], None] = lambda _: None,
        fields: Callable[[Fields], str] = lambda _: "",
        lets_in: Callable[[str, Fields], bool] = lambda *_: True,
    ) -> None:
        self.limit = limit
        self.count = 0
        self._computes = computes
        self._lets_in = lets_in
        self._refused = refused
        self._changed = changed
        self._fields = fields

    @property
    def full(self) -> bool:
        """Whether the next request that computes must be refused."""
        return self.count >= self.limit

    def move(self, change: int) -> None:
        """Add ``change`` to the number of requests being answered."""
        self.count += change
        self._changed(self.count)

    def takes(self, path: str, fields: Fields) -> bool:
        """Return whether a POST request to a path with these headers counts."""
        return self._computes(path) and self._lets_in(path, fields)

    def refusal(self, path: str, headers: list[tuple[bytes, bytes]], closes: bool = False) -> bytes:
        """Return the answer to a request that is not admitted, in bytes, and count it.

        Args:
            path: the request's.
            headers: the request's.
            closes: whether the connection is closed after it.
        """
        self._refused(path)
        sent_id = header(headers, REQUEST_ID) or ""
        fields = RETRY_FIELD + self._fields(headers) + CLOSE_FIELD * closes
        return early_answer(HTTPStatus.SERVICE_UNAVAILABLE, try_again(busy(self.count)), fields, sent_id)
