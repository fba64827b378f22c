"""The application behind the page: a few addresses that answer JSON, and pictures."""

import json
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from clustnet.bundles.bundle import first_fault
from clustnet.corrections.actions import AnyAction, parse
from clustnet.corrections.log import StaleError
from clustnet.corrections.session import Session
from clustnet.errors import UserError
from clustnet.pages.served import SHARED_FILES
from review.guard import Guard
from review.map import compute, kept_map
from review.overview import facts, state
from review.pictures import LARGE, SMALL
from review.run import Run
from review.splitting import split
from review.worker import Worker

T = TypeVar("T", bound=BaseModel)
STATIC = Path(__file__).resolve().parent / "static"
# Enough for a request that names all images of a large run.
MAX_BODY_BYTES = 16 * 2**20
MOST_ACTIONS = 1000
# A picture changes only if its file does, and then the review begins again.
KEEP_PICTURES = {"Cache-Control": "private, max-age=3600"}
NO_STORE = {"Cache-Control": "no-store"}


class Wanted(BaseModel):
    """What the page asks for: actions that follow the one with the serial number ``expected``."""

    model_config = ConfigDict(extra="forbid", strict=True)
    expected: int = Field(ge=0)
    actions: list[Any] = Field(min_length=1, max_length=MOST_ACTIONS)


class WantedSplit(BaseModel):
    """A subtype that is to be divided, likewise."""

    model_config = ConfigDict(extra="forbid", strict=True)
    expected: int = Field(ge=0)
    subtype: str
    parts: int


class Page:
    """The answers to the page's requests.

    Args:
        run: what is reviewed.
        session: its review.
        worker: runs what takes seconds.
    """

    def __init__(self, run: Run, session: Session, worker: Worker) -> None:
        self.run, self.session, self.worker = run, session, worker
        self._map: Future[None] | None = None

    @cached_property
    def _map_file(self) -> Path:
        """Where the map is kept."""
        return kept_map(self.run.kept, self.run.space)

    async def show(self, _: Request) -> Response:
        """Answer with the page itself."""
        return FileResponse(STATIC / "index.html", headers=NO_STORE)

    async def facts(self, _: Request) -> Response:
        """Answer with what never changes in a review."""
        return JSONResponse(await run_in_threadpool(facts, self.run), headers=NO_STORE)

    async def state(self, request: Request) -> Response:
        """Answer with the subtypes as they are now, or with nothing if the page names the current serial number."""
        await run_in_threadpool(self.session.refresh)
        if request.query_params.get("after") == str(self.session.serial):
            return Response(status_code=204, headers=NO_STORE)
        return await self._now()

    async def map(self, _: Request) -> Response:
        """Answer with the map, or with status 202 while it is being computed."""
        path = self._map_file
        if path.is_file():
            places = await run_in_threadpool(np.load, path)
            return JSONResponse({"x": places[:, 0].tolist(), "y": places[:, 1].tolist()}, headers=NO_STORE)
        if self._map is None:
            self._map = self.worker.do(compute, self.run.space, path)
        if self._map.done() and (fault := self._map.exception()):
            self._map = None
            raise UserError(f"The map cannot be made: {fault}")
        return JSONResponse({}, 202, headers=NO_STORE)

    async def picture(self, request: Request) -> Response:
        """Answer with a picture, small or large."""
        place, side = request.path_params["place"], LARGE if request.path_params["size"] == "large" else SMALL
        if self.run.pictures is None or place >= len(self.run.rows):
            raise HTTPException(404, "There is no such picture.")
        try:
            content = await run_in_threadpool(self.run.pictures.jpeg, place, side)
        except OSError:
            raise HTTPException(404, "The file can no longer be read.") from None
        return Response(content, media_type="image/jpeg", headers=KEEP_PICTURES)

    async def do(self, request: Request) -> Response:
        """Do actions, and answer with the subtypes as they are then."""
        wanted = await _read(request, Wanted)
        actions = [parse(action) for action in wanted.actions]
        return await self._done(actions, wanted.expected)

    async def split(self, request: Request) -> Response:
        """Divide a subtype, likewise."""
        wanted = await _read(request, WantedSplit)
        review, _, serial = self.session.now()
        if serial != wanted.expected:
            return await self._done([], wanted.expected)
        divided = await run_in_threadpool(
            self.worker.do(split, review, self.run.space, wanted.subtype, wanted.parts).result
        )
        return await self._done([divided], wanted.expected)

    async def _done(self, actions: list[AnyAction], expected: int) -> Response:
        await run_in_threadpool(self.session.do, actions, expected)
        return await self._now()

    async def _now(self) -> Response:
        return JSONResponse(await run_in_threadpool(state, self.run, self.session), headers=NO_STORE)


async def _read(request: Request, form: type[T]) -> T:
    """Return the body of a request.

    Raises:
        HTTPException: the body is too large.
        UserError: the body is not what was expected.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise HTTPException(413, f"Send at most {MAX_BODY_BYTES >> 20} MiB.")
    try:
        return form.model_validate(json.loads(content))
    except (ValueError, RecursionError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else "it is not JSON"
        raise UserError(f"The request cannot be used: {fault}.") from None


def _explain(_: Request, error: Exception) -> Response:
    """Answer with one sentence on what was wrong with a request."""
    if isinstance(error, HTTPException):
        return PlainTextResponse(error.detail, error.status_code)
    return PlainTextResponse(str(error), 409 if isinstance(error, StaleError) else 400)


def make_app(run: Run, session: Session, worker: Worker, token: str, hosts: frozenset[str]) -> Starlette:
    """Return the application.

    Args:
        run: what is reviewed.
        session: its review.
        worker: runs what takes seconds.
        token: what lets a browser in.
        hosts: the names under which it is served, besides numeric addresses.
    """
    page = Page(run, session, worker)
    return Starlette(
        routes=[
            Route("/", page.show),
            Route("/facts", page.facts),
            Route("/state", page.state),
            Route("/map", page.map),
            Route("/pictures/{size:str}/{place:int}", page.picture),
            Route("/do", page.do, methods=["POST"]),
            Route("/split", page.split, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC, packages=[SHARED_FILES])),
        ],
        middleware=[Middleware(Guard, token=token, hosts=hosts)],
        exception_handlers={UserError: _explain, HTTPException: _explain},
    )
