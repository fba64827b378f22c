"""Load from clients that are not the bottleneck: as much as a server can take, or at a given rate."""

import asyncio
import gc
import random
import re
import subprocess
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import uvloop

from benchmarks.requests import RPC_TYPE, Request
from benchmarks.servers import pinned
from benchmarks.timer import Timer

WARM_UP_SECONDS = 1
CONNECTIONS = 400
ANSWER_SECONDS = 30


def top_load(url: str, request: Request, clients: int, seconds: float, cores: Sequence[int]) -> float:
    """Return how many requests per second are answered to ``clients`` that ask again at once, by nghttp2's h2load.

    gRPC requests go over HTTP/2, and all others over HTTP/1.1.

    Raises:
        RuntimeError: an answer was not 2xx, or h2load is not installed (Debian: nghttp2-client).
    """
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(request.body)
        version = [] if request.headers["Content-Type"] == RPC_TYPE else ["--h1"]
        options = [*version, f"-c{clients}", f"-D{seconds:g}", f"--warm-up-time={WARM_UP_SECONDS}", "-d", body.name]
        fields = [part for name, value in request.headers.items() for part in ("-H", f"{name}: {value}")]
        command = pinned(["h2load", *options, *fields, url + request.path], cores)
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"([\d.]+) req/s", output)
    answers = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", output)
    if not rate or not answers or not int(answers[1]):
        raise RuntimeError(f"{url}{request.path} did not answer 2xx:\n{output}")
    return float(rate[1])


@dataclass
class Answers:
    """The answers to requests at a given rate.

    Args:
        statuses: how often each HTTP status came; 0 stands for none.
        milliseconds: milliseconds to each answer by its status, from the moment that its request was due.
        meanwhile: how often each status came until the last request was sent.
        seconds: how long requests were sent.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    meanwhile: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, more: "Answers") -> None:
        """Add the answers of another measurement."""
        self.statuses.update(more.statuses)
        self.meanwhile.update(more.meanwhile)
        for status, milliseconds in more.milliseconds.items():
            self.milliseconds[status].extend(milliseconds)
        self.seconds += more.seconds

    def percentile(self, percent: float, status: int = 200) -> float:
        """Return a percentile of the milliseconds of the answers with this status; NaN if there are none."""
        return float(np.percentile(self.milliseconds[status] or [np.nan], percent))


def steady_load(url: str, request: Request, rate: float, seconds: float, seed: int = 0) -> Answers:
    """Send ``rate`` requests per second at random moments (a Poisson process), whether or not the server keeps up.

    The client sleeps in between if there is time, so that its core is free for the system's own threads.
    """
    # Garbage collection over all imported objects would delay the client, which would count as the server's time.
    gc.freeze()
    return uvloop.run(_ask_steadily(url, request, rate, seconds, seed))


async def _ask_steadily(url: str, request: Request, rate: float, seconds: float, seed: int) -> Answers:
    draw, answers, idle = random.Random(seed), Answers(), Idle(_message(url, request))  # noqa: S311
    await idle.open(url)
    timer = Timer()
    start = due = time.monotonic()
    while due < start + seconds:
        due += draw.expovariate(rate)
        await timer.until(due)
        idle.send(due, answers)
    answers.meanwhile, answers.seconds = answers.statuses.copy(), time.monotonic() - start
    timer.close()
    await idle.close()
    return answers


def _message(url: str, request: Request) -> bytes:
    fields = {"Host": urlsplit(url).netloc, "Content-Length": str(len(request.body))} | request.headers
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


class Idle:
    """Connections that wait for a request.

    Args:
        message: the request's bytes.
    """

    def __init__(self, message: bytes) -> None:
        self.message = message
        self._idle: deque[Connection] = deque()
        self._open = 0

    async def open(self, url: str) -> None:
        """Open all connections, so that none is opened during the measurement."""
        host, _, port = urlsplit(url).netloc.rpartition(":")
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: Connection(self), host, int(port))
            self._open += 1

    def send(self, due: float, answers: Answers) -> None:
        """Send the request on a free connection; if there is none, count it as not answered."""
        if self._idle:
            self._idle.popleft().send(due, answers)
        else:
            answers.statuses[0] += 1

    def free(self, connection: "Connection") -> None:
        """Take back a connection that waits for a request."""
        self._idle.append(connection)

    def lost(self, connection: "Connection") -> None:
        """Forget a connection that the server closed."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    async def close(self) -> None:
        """Wait for the last answers and close the connections."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while len(self._idle) < self._open and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._idle):
            connection.transport.close()


class Connection(asyncio.Protocol):
    """One keep-alive connection, which sends one request at a time and reads no more of an answer than it must."""

    transport: asyncio.Transport

    def __init__(self, idle: Idle) -> None:
        self._idle = idle
        self._buffer = b""
        self._asked: tuple[float, Answers] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self.transport = transport  # type: ignore[assignment]
        self._idle.free(self)

    def send(self, due: float, answers: Answers) -> None:
        """Send the request."""
        self._asked = due, answers
        self.transport.write(self._idle.message)

    def data_received(self, data: bytes) -> None:
        """Read an answer."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or self._asked is None:
            return
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length and len(body) < int(length[1]):
            return
        due, answers = self._asked
        status = int(head[9:12])
        answers.statuses[status] += 1
        answers.milliseconds[status].append(1000 * (time.monotonic() - due))
        self._buffer, self._asked = b"", None
        self._idle.free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """Count a request that got no answer."""
        if self._asked is not None:
            self._asked[1].statuses[0] += 1
        self._idle.lost(self)
