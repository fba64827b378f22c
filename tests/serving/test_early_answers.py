import io
import json
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any, cast

from serving.early_answers import CLOSE_FIELD, early_answer


class Received:
    """A socket from which an answer is read."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def read(content: bytes) -> HTTPResponse:
    answer = HTTPResponse(cast(Any, Received(content)))
    answer.begin()
    return answer


def test_a_client_reads_it_as_any_answer() -> None:
    answer = read(early_answer(HTTPStatus.REQUEST_TIMEOUT, "Too late.", f"retry-after: 1\r\n{CLOSE_FIELD}", "mine"))
    assert (answer.status, answer.reason, answer.will_close) == (408, "Request Timeout", True)
    expected = {"content-type": "application/json", "retry-after": "1", "x-request-id": "mine", "connection": "close"}
    assert expected.items() <= dict(answer.getheaders()).items()
    assert json.loads(answer.read()) == {"error": "Too late."}


def test_a_request_without_id_gets_one() -> None:
    ids = {
        read(early_answer(HTTPStatus.BAD_REQUEST, "No.", "", sent)).getheader("X-Request-Id") for sent in ("", "a b")
    }
    assert len(ids) == 2
    assert all(name and name != "a b" for name in ids)
