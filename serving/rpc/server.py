"""The gRPC server: it turns each call into a request to the application, and the answer into gRPC's.

So a call passes through the same keys, gate, deadline, metrics and log as a request over HTTP. Several workers all
listen on the same port, by SO_REUSEPORT, and the system spreads the connections over them.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from starlette.types import ASGIApp, Message, Receive, Scope

from serving.api.state import State
from serving.headers import REQUEST_ID
from serving.routes import RPC_SERVICE, RPCS, Endpoint
from serving.rpc.protocol import POOL
from serving.settings import Settings

# How often the health service checks whether the service is ready.
LOOK_SECONDS = 0.5
# The most calls open at the same time, per connection and in all; the gate refuses calls that compute before that.
MAX_STREAMS, MAX_CALLS = 512, 1024
# How long answers may take when the service stops: as long as the service's own deadline.
GRACE_SECONDS = 30.0
CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}


@asynccontextmanager
async def serving_rpc(app: ASGIApp, state: State) -> AsyncIterator[None]:
    """Serve an application that answers the paths of ``RPCS`` over gRPC, as long as the block runs.

    Raises:
        RuntimeError: nothing can listen on the settings' address.
    """
    settings = state.settings
    server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=MAX_CALLS)
    # A stream of requests, of which one is read, so that the key is checked before the message is received.
    methods = {
        endpoint.path.rpartition("/")[2]: grpc.stream_unary_rpc_method_handler(partial(_call, app, state, endpoint))
        for endpoint in RPCS
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(RPC_SERVICE, methods)])
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    names = (RPC_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    for module in (health_pb2, reflection_pb2):
        POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    reflection.enable_server_reflection(names, server, POOL)
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    server.add_insecure_port(f"{host}:{settings.grpc_port}")
    await server.start()
    looking = asyncio.create_task(_show_health(healthy, state))
    try:
        yield
    finally:
        looking.cancel()
        await healthy.enter_graceful_shutdown()
        await server.stop(GRACE_SECONDS)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # A worker that is alone must not share its port with another service.
        ("grpc.so_reuseport", int(settings.workers > 1)),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        # Only identity is allowed, because gRPC unpacks messages of any size.
        ("grpc.compression_enabled_algorithms_bitset", 1),
    ]


async def _call(app: ASGIApp, state: State, endpoint: Endpoint, _: AsyncIterator[bytes], context: Any) -> bytes:
    """Return the message that answers a call, or end the call with the status of a refusal."""
    status, fields, body = 0, [], bytearray()

    async def send(message: Message) -> None:
        nonlocal status, fields
        if message["type"] == "http.response.start":
            status, fields = message["status"], message["headers"]
        body.extend(message.get("body", b""))

    scope = _scope(endpoint, context)
    room = state.gate.room(scope["client"][0], state.settings.max_body_bytes)
    await app(scope, _receiving(context, room), send)
    request_id = REQUEST_ID.lower()
    context.set_trailing_metadata([(request_id, dict(fields)[request_id.encode()].decode())])
    if status != HTTPStatus.OK:
        await context.abort(CODES.get(HTTPStatus(status), grpc.StatusCode.INTERNAL), json.loads(body)["error"])
    return bytes(body)


def _scope(endpoint: Endpoint, context: Any) -> Scope:
    """Return the ASGI scope of a call; the call's metadata are the headers."""
    metadata = [(key, value) for key, value in context.invocation_metadata() if isinstance(value, str)]
    # Such as ipv4:127.0.0.1:5000.
    host, _, port = context.peer().partition(":")[2].rpartition(":")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "2",
        "method": "POST",
        "scheme": "http",
        "path": endpoint.path,
        "raw_path": endpoint.path.encode(),
        "query_string": b"",
        "headers": [(key.encode(), value.encode("latin-1")) for key, value in metadata],
        "client": (host, int(port) if port.isdecimal() else 0),
    }


def _receiving(context: Any, room: AbstractAsyncContextManager[None]) -> Receive:
    """Return ASGI's ``receive``, which waits for the message, and then for the end of the call."""
    was_read = False

    async def receive() -> Message:
        nonlocal was_read
        if not was_read:
            was_read = True
            async with room:
                message = await context.read()
            return {"type": "http.request", "body": message or b"", "more_body": False}
        # Cancelling the call cancels what waits here.
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive


async def _show_health(healthy: Any, state: State) -> None:
    """Keep the health service's answers up to date as long as the event loop runs."""
    status = health_pb2.HealthCheckResponse
    while True:
        for name in ("", RPC_SERVICE):
            await healthy.set(name, status.NOT_SERVING if state.models.now.fault() else status.SERVING)
        await asyncio.sleep(LOOK_SECONDS)
