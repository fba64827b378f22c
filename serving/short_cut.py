"""The short way to an application beside BentoML's."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class ShortCut:
    """ASGI middleware that takes requests past BentoML's inner layers, which cost as much as a small model's inference.

    Args:
        app: BentoML's layers.
        application: what answers instead; if it is mounted with ``mount_asgi_app`` too, that starts and stops it.
        takes: tells by method and path whether it does.
    """

    def __init__(self, app: ASGIApp, application: ASGIApp, takes: Callable[[str, str], bool]) -> None:
        self.app = app
        self.application = application
        self.takes = takes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        short = scope["type"] == "http" and self.takes(scope["method"], scope["path"])
        await (self.application if short else self.app)(scope, receive, send)
