"""Answers as bytes to requests that are refused before an application could answer them."""

from http import HTTPStatus

from serving.headers import CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, REQUEST_ID, RETRY_AFTER, choose_id
from serving.refusals import RETRY_SECONDS

CLOSE_FIELD = f"{CONNECTION.lower()}: close\r\n"
RETRY_FIELD = f"{RETRY_AFTER.lower()}: {RETRY_SECONDS}\r\n"


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
        f"HTTP/1.1 {status} {status.phrase}\r\n{CONTENT_TYPE.lower()}: application/json\r\n{fields}"
        f"{REQUEST_ID.lower()}: {choose_id(sent_id)}\r\n{CONTENT_LENGTH.lower()}: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()
