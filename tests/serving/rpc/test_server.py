"""The service in this process, over gRPC on a socket."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from starlette.testclient import TestClient
from tritonclient.grpc import service_pb2 as messages

from serving.app import build_app
from serving.gate import Limits
from serving.keys.keys import make_key
from serving.routes import RPC_INFER, RPC_LIVE, RPCS
from serving.rpc import handlers
from serving.settings import Settings
from tests.serving.server import free_port

Both = tuple[grpc.Channel, TestClient]

IMAGES = np.random.default_rng(5).integers(0, 256, (2, 28, 28)).astype(np.uint8)


@contextmanager
def served(bundle: Path, **settings: object) -> Iterator[Both]:
    """Serve a bundle over gRPC and HTTP."""
    with free_port() as port:
        app = build_app(Settings(bundles=(bundle,), device="cpu", grpc_port=port, **settings))  # type: ignore[arg-type]
        with (
            TestClient(app, base_url="http://127.0.0.1") as client,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            yield channel, client


@pytest.fixture(scope="module")
def both(synthetic_bundle: Path) -> Iterator[Both]:
    with served(synthetic_bundle, max_body_bytes=100_000) as both:
        yield both


def infer(channel: grpc.Channel, body: bytes, **options: object) -> bytes:
    call = channel.unary_unary(RPC_INFER.path)
    answer: bytes = call(body, timeout=20, **options)
    return answer


def request(**changes: object) -> bytes:
    tensor = {"name": "image", "datatype": "UINT8", "shape": IMAGES.shape}
    content = {"model_name": "synthetic", "inputs": [tensor], "raw_input_contents": [IMAGES.tobytes()]} | changes
    message: bytes = messages.ModelInferRequest(**content).SerializeToString()
    return message


def test_every_declared_call_has_a_handler() -> None:
    assert set(handlers.HANDLERS) == set(RPCS)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"\xff", "INVALID_ARGUMENT", "The message is no ModelInferRequest"),
        (request(raw_input_contents=[b"1"]), "INVALID_ARGUMENT", "takes 1568 bytes"),
        (request(model_name="other"), "NOT_FOUND", "There is no model 'other'"),
        (request(model_name=""), "NOT_FOUND", "There is no model ''"),
        (request(model_version="9"), "NOT_FOUND", "no version '9'"),
        (b"\x3a" + b"\0" * 200_000, "RESOURCE_EXHAUSTED", ""),
    ],
)
def test_faults_have_the_codes_of_grpc(both: Both, body: bytes, code: str, says: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        infer(both[0], body)
    assert (error.value.code().name, says in error.value.details()) == (code, True)


def test_packed_messages_are_refused(both: Both) -> None:
    with pytest.raises(grpc.RpcError) as error:
        infer(both[0], request(), compression=grpc.Compression.Gzip)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_without_a_message_is_refused(both: Both) -> None:
    with pytest.raises(grpc.RpcError) as error:
        both[0].stream_unary(RPC_INFER.path)(iter(()), timeout=20)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_overload_is_unavailable(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = both[1].app.state.service.gate  # type: ignore[attr-defined]
    monkeypatch.setattr(gate, "limits", Limits(running=0, waiting=0))
    with pytest.raises(grpc.RpcError) as error:
        infer(both[0], request())
    assert (error.value.code(), "try again" in error.value.details()) == (grpc.StatusCode.UNAVAILABLE, True)


def test_a_call_that_is_given_up_leaves_nothing(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = both[1].app.state.service.gate  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(gate, "limits", Limits(running=0))
        call = both[0].unary_unary(RPC_INFER.path).future(request(), timeout=60)
        while not gate._waiting:
            time.sleep(0.01)
        call.cancel()
        while gate._waiting:
            time.sleep(0.01)
    assert infer(both[0], request())


def test_calls_are_no_paths_of_http(both: Both) -> None:
    assert both[1].post(RPC_INFER.path, content=request()).status_code == 404
    with pytest.raises(grpc.RpcError) as error:
        both[0].unary_unary("/inference.GRPCInferenceService/TraceSetting")(b"", timeout=20)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_calls_are_counted_and_have_ids(both: Both) -> None:
    series = 'clustnet_requests_total{path="/inference.GRPCInferenceService/ModelInfer",status="200"}'

    def count() -> float:
        lines = both[1].get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(series))

    before = count()
    call = both[0].unary_unary(RPC_INFER.path)
    _, done = call.with_call(request(), metadata=[("x-request-id", "mine")], timeout=20)
    assert dict(done.trailing_metadata())["x-request-id"] == "mine"
    assert count() - before == 1


def test_keys_come_as_metadata(synthetic_bundle: Path, tmp_path: Path) -> None:
    secret, key = make_key("ann", ["predict"])
    (tmp_path / "keys").write_text(f"{key.line()}\n")
    with served(synthetic_bundle, api_keys_file=tmp_path / "keys") as (channel, _):
        assert messages.ServerLiveResponse.FromString(channel.unary_unary(RPC_LIVE.path)(b"", timeout=20)).live
        for metadata in ([("authorization", f"Bearer {secret}")], [("x-api-key", secret)]):
            assert infer(channel, request(), metadata=metadata)
        for metadata in ([], [("x-api-key", "wrong")]):
            with pytest.raises(grpc.RpcError) as error:
                infer(channel, request(), metadata=metadata)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        with pytest.raises(grpc.RpcError) as error:
            load(b"", metadata=[("x-api-key", secret)], timeout=20)
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_key_is_checked_before_the_message(synthetic_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{make_key('ann', ['predict'])[1].line()}\n")

    def never() -> Iterator[bytes]:
        stop.wait(60)
        yield b""

    stop = threading.Event()
    with served(synthetic_bundle, api_keys_file=tmp_path / "keys") as (channel, _):
        with pytest.raises(grpc.RpcError) as error:
            channel.stream_unary(RPC_INFER.path)(never(), timeout=20)
        stop.set()
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_whole_messages_are_read_in_turn(synthetic_bundle: Path) -> None:
    """Each may have half of what an address may have, so that two calls that stall let no third be read."""

    def stalled() -> Iterator[bytes]:
        stop.wait(60)
        yield request()

    stop = threading.Event()
    with served(synthetic_bundle, max_body_bytes=Limits().address_bytes // 2) as (channel, client):
        calls = [channel.stream_unary(RPC_INFER.path).future(stalled(), timeout=60) for _ in range(2)]
        gate = client.app.state.service.gate  # type: ignore[attr-defined]
        while gate._reading < Limits().address_bytes:
            time.sleep(0.01)
        third = channel.unary_unary(RPC_INFER.path).future(request(), timeout=60)
        time.sleep(0.5)
        assert not third.done()
        stop.set()
        assert all(call.result() for call in (*calls, third))
        assert gate._reading == 0


def test_without_the_port_nothing_listens(synthetic_bundle: Path) -> None:
    app = build_app(Settings(bundles=(synthetic_bundle,), device="cpu"))
    assert not any(endpoint.rpc for endpoint in app.router.default.handlers)  # type: ignore[attr-defined]
