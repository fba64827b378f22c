"""When a connection is read: uvicorn's flow control, which reads on too early, with two more conditions."""

import asyncio
from collections.abc import Collection

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """Reads on only when everything read so far has its answer and the client takes the answers.

    Args:
        transport: the connection.
        line: the requests that wait until earlier ones are answered.
    """

    def __init__(self, transport: asyncio.Transport, line: Collection[object]) -> None:
        super().__init__(transport)
        self._line = line
        # Whether nothing more is read, ever.
        self.ended = False

    def resume_reading(self) -> None:
        """Read on, if it is time."""
        if not (self._line or self.ended or self.write_paused or self._transport.is_closing()):
            super().resume_reading()

    def pause_writing(self) -> None:
        """Hold back answers that the client does not take, and read nothing meanwhile."""
        super().pause_writing()
        self.pause_reading()

    def resume_writing(self) -> None:
        """Write on, and read on."""
        super().resume_writing()
        self.resume_reading()
