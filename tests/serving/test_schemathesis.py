"""Schemathesis asks the service whatever its OpenAPI document allows, and what it does not."""

import os
from typing import Any

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

from clustnet.bundle import Bundle
from clustnet.settings import SHIPPED_BUNDLE, Settings
from serving.openapi import describe

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))  # an operation, beside those at the edges of its schema
NAMED = Bundle(SHIPPED_BUNDLE).manifest.model_copy(update={"name": "synthetic"})  # as the client's bundle is
DOCUMENT = describe(NAMED, Settings())
schema = schemathesis.openapi.from_dict(DOCUMENT)


@schemathesis.serializer("image/bmp")  # the one type of the upload's that it does not know
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
