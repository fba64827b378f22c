"""Admission: under overload, requests that compute are refused while they are read, before much is spent on them."""

from collections.abc import Callable
from http import HTTPStatus

from serving.early_answers import LAST, RETRY, early_answer
from serving.headers import Fields, header
from serving.middleware.request_log import REQUEST_ID_FIELD
from serving.refusals import again
from serving.turns import MOST_RUNNING, MOST_WAITING, busy

ROOM = MOST_RUNNING + MOST_WAITING  # past as many TakeTurns refuses too


class Admission:
    """How many requests of this worker are whole and not yet answered, and whether another may come.

    To refuse one in ``TakeTurns`` costs a third of a small prediction, so that at three times the top load a worker
    would do little else.

    Args:
        computes: tells by its path whether a POST request computes; all others are admitted.
        refused: called with the path of each that is refused, to count it.
        most: how many there may be.
        changed: called with how many there are now, whenever that changes.
        fields: returns more headers for the answer to a request with these, in lines that each end with CRLF.
    """

    def __init__(
        self,
        computes: Callable[[str], bool],
        refused: Callable[[str], None],
        most: int = ROOM,
        changed: Callable[[int], None] = lambda _: None,
        fields: Callable[[Fields], str] = lambda _: "",
    ) -> None:
        self.computes = computes
        self.most = most
        self.count = 0
        self._refused = refused
        self._changed = changed
        self._fields = fields

    @property
    def full(self) -> bool:
        """Tell whether the next request that computes must be refused."""
        return self.count >= self.most

    def move(self, change: int) -> None:
        """Note that so many more, or fewer, are whole and not yet answered."""
        if change:
            self.count += change
            self._changed(self.count)

    def refusal(self, path: str, headers: list[tuple[bytes, bytes]], closes: bool = False) -> bytes:
        """Return the answer to a request that is not admitted, in bytes, and count it.

        Args:
            path: the request's.
            headers: the request's.
            closes: whether the connection is closed after it.
        """
        self._refused(path)
        sent_id = header(headers, REQUEST_ID_FIELD) or ""
        fields = RETRY + self._fields(headers) + LAST * closes
        return early_answer(HTTPStatus.SERVICE_UNAVAILABLE, again(busy(self.count)), fields, sent_id)
