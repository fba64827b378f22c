"""Access control: which requests an API key lets in, if the service has keys."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.headers import API_KEY, AUTHORIZATION, KEY_NAME, WWW_AUTHENTICATE, Fields, header
from serving.keys.key_file import KeyFile
from serving.keys.keys import Key
from serving.metrics.metrics import refused
from serving.refusals import Refusal
from serving.routes import METRICS, KeyScope, endpoint_of

HOW = f"send '{AUTHORIZATION}: Bearer KEY' or '{API_KEY}: KEY'"
# Unknown paths need a key too, so that nobody without one can find out which paths there are.
SCOPE_OF_UNKNOWN_PATHS: KeyScope = "predict"
FAULTS = {401: "The API key is missing or unknown.", 403: "The API key lacks the scope."}


def needed_scope(path: str, metrics_open: bool) -> KeyScope | None:
    """Return the scope that a key must have for a path, None where the path needs no key."""
    endpoint = endpoint_of(path)
    if endpoint is None:
        return SCOPE_OF_UNKNOWN_PATHS
    return None if metrics_open and endpoint is METRICS else endpoint.scope


class Access:
    """ASGI middleware that lets requests in by their API key, before their body is read.

    Args:
        app: the application.
        keys: the valid keys.
        needs: returns the scope that a path needs, None if it needs no key.
    """

    def __init__(self, app: ASGIApp, keys: KeyFile, needs: Callable[[str], KeyScope | None]) -> None:
        self.app = app
        self.keys = keys
        self.needs = needs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        needed = self.needs(scope["path"]) if scope["type"] == "http" else None
        if needed is None:
            await self.app(scope, receive, send)
            return
        try:
            key = _key(self.keys, scope["headers"])
            scope[KEY_NAME] = key.name
            _check_scope(key, needed)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _key(keys: KeyFile, fields: Fields) -> Key:
    """Return the key that a request brings; refuse a request without a key or with an unknown one."""
    secret = _secret(fields)
    if not secret:
        raise Refusal(401, "no_key", f"This request needs an API key; {HOW}.", _challenge())
    key = keys.find(secret)
    if key is None:
        message = f"The API key is unknown; {HOW} with a key that this service knows."
        raise Refusal(401, "unknown_key", message, _challenge('error="invalid_token"'))
    return key


def _secret(fields: Fields) -> str:
    """Return the key that a request brings, empty without one; ``X-API-Key`` wins, as a proxy may use Authorization."""
    scheme, _, token = (header(fields, AUTHORIZATION) or "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return (header(fields, API_KEY) or "").strip() or bearer


def _check_scope(key: Key, needed: str) -> None:
    if needed not in key.scopes:
        message = f"The API key lacks the scope '{needed}'; use a key that has it."
        challenge = _challenge(f'error="insufficient_scope", scope="{needed}"')
        raise Refusal(403, "wrong_scope", message, challenge)


def _challenge(*fault: str) -> dict[str, str]:
    """Return the header that RFC 6750 prescribes."""
    return {WWW_AUTHENTICATE: ", ".join(['Bearer realm="clustnet"', *fault])}
