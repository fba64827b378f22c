"""Answers made by hand, in bytes: to what is refused before there is a request that an application could answer."""

from http import HTTPStatus

from serving.middleware.request_log import REQUEST_ID_FIELD, choose_id
from serving.refusals import RETRY_SECONDS

LAST = "connection: close\r\n"  # a header for answers after which nothing more is read
RETRY = f"retry-after: {RETRY_SECONDS}\r\n"  # and for those under overload


def early_answer(status: HTTPStatus, message: str, fields: str = "", sent_id: str = "") -> bytes:
    """Return ``{"error": message}`` with this status; a ``Response`` would cost several times as much.

    Args:
        status: the HTTP status.
        message: a sentence for the client, without quotes or backslashes.
        fields: more headers, in lines that each end with CRLF.
        sent_id: the request's own id, empty without one.
    """
    body = f'{{"error":"{message}"}}'
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\n{fields}"
        f"{REQUEST_ID_FIELD.decode()}: {choose_id(sent_id)}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()
