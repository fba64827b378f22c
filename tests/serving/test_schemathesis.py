"""Schemathesis asks the service whatever its OpenAPI document allows, and what it does not.

In process; and over HTTP a service that asks for keys: without one, with one that may predict, with one that may all.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from requests import Request
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from clustnet.bundles.bundle import Bundle
from serving.keys.keys import make_key
from serving.openapi.service import describe
from serving.settings import SHIPPED_BUNDLE, Settings
from tests.serving.server import running_service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# For each operation, beside those at the edges of its schema.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))
# The client's bundle has this name.
NAMED = Bundle(SHIPPED_BUNDLE).manifest.model_copy(update={"name": "synthetic"})
DOCUMENT = describe(NAMED, Settings())
# It is only there where BentoML serves.
del DOCUMENT["paths"]["/schema.json"]
schema = schemathesis.openapi.from_dict(DOCUMENT)
WITH_KEYS = Settings(api_keys_file=Path("keys"), metrics_open=False)
guarded = schemathesis.openapi.from_dict(describe(Bundle(SHIPPED_BUNDLE).manifest, WITH_KEYS))


# It is the only type of the upload that Schemathesis does not know.
@schemathesis.serializer("image/bmp")
def as_bytes(_: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_the_document_is_the_services_own(client: TestClient) -> None:
    document = client.get("/docs.json").json()
    assert (document["paths"], document["components"]) == (DOCUMENT["paths"], DOCUMENT["components"])


@schema.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_every_answer_is_documented(case: schemathesis.Case, client: TestClient) -> None:
    asked = Request(**case.as_transport_kwargs(base_url="http://127.0.0.1")).prepare()
    answer = client.request(asked.method, asked.url, headers=asked.headers, content=asked.body)
    case.validate_response(answer, checks=CHECKS)


@pytest.fixture(scope="module")
def guarded_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of a service with keys, and the headers that clients send there."""
    user, operator = make_key("user", ["predict"]), make_key("operator", ["predict", "admin"])
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"{user[1].line()}\n{operator[1].line()}\n")
    settings = {"CLUSTNET_API_KEYS_FILE": str(file), "CLUSTNET_METRICS_OPEN": "false"}
    with running_service(SHIPPED_BUNDLE, **settings) as url:
        yield url, [{}, {"X-API-Key": user[0]}, {"X-API-Key": operator[0]}]


@guarded.parametrize()
@settings(max_examples=1, suppress_health_check=list(HealthCheck))
def test_key_answers_are_documented(case: schemathesis.Case, guarded_service: tuple[str, list[dict[str, str]]]) -> None:
    url, senders = guarded_service
    for headers in senders:
        case.validate_response(case.call(base_url=url, headers=headers), checks=CHECKS)
