"""The deadline for answers, and the answer if the service itself has failed."""

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.headers import ID_NAME
from serving.metrics.metrics import refused
from serving.refusals import ERRORS, Refusal

logger = logging.getLogger("bentoml.clustnet")


class Deadline:
    """ASGI middleware that makes sure that each request is answered, and in time.

    Args:
        app: the application.
        seconds: the longest time until an answer begins; after it, the answer is 504.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def beginning(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                # A client that reads slowly is not cut off.
                timer.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self.seconds) as timer:
                await self.app(scope, receive, beginning)
        except Exception as fault:
            if begun:
                raise
            if not timer.expired():
                logger.error("The request %s failed.", scope.get(ID_NAME), exc_info=fault)
            await refused(self._refusal(timer.expired()))(scope, receive, send)

    def _refusal(self, expired: bool) -> Refusal:
        if expired:
            return Refusal(504, "too_slow", f"The answer took over {self.seconds:g} seconds; try again later.")
        return Refusal(500, "failed", ERRORS[500])
