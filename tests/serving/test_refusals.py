"""What a client sent is repeated in a few ASCII characters, as a terminal or a page may show the message."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clustnet.bundles.predictor import Predictor
from serving.api.compression import decompress
from serving.api.inputs import check_json, read_images
from serving.api.uploads import read_upload
from serving.models.catalogue import Catalogue, ServedModel
from serving.refusals import MAX_QUOTE_CHARACTERS, Refusal, quote, unknown_path, wrong_method
from serving.v2.requests import read_request
from tests.serving.v2.bodies import LENGTH, binary_body, described, json_body

# Colours of a terminal, a letter that turns the direction of writing, a tag, and more than is repeated.
SENT = "\x1b[31m\u202e<b>\u00e9" + "x" * 100
LATIN = SENT.replace("\u202e", "")
IMAGES = np.zeros((1, 2, 3), np.uint8)


def read(**changes: Any) -> None:
    read_images(json.dumps({"images": IMAGES.tolist()} | changes).encode(), (2, 3), 4)


def infer(document: Any) -> None:
    read_request(json.dumps(document).encode(), None, (2, 3), 4)


def infer_tensor(**changes: Any) -> None:
    infer({"inputs": [described(IMAGES, data=IMAGES.ravel().tolist()) | changes]})


def infer_binary(size: str) -> None:
    tensor = described(IMAGES, parameters={"binary_data_size": size})
    body, headers = binary_body(IMAGES, inputs=[tensor])
    read_request(body, headers[LENGTH], (2, 3), 4)


def form(name: str) -> None:
    content = f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\nx\r\n--B--\r\n'
    read_upload("multipart/form-data; boundary=B", content.encode())


def refuse(refusal: Refusal) -> None:
    raise refusal


@pytest.mark.parametrize(
    ("send", "sent"),
    [
        (form, SENT),
        (lambda sent: read_upload(sent, b""), LATIN),
        (check_json, LATIN),
        (lambda sent: decompress(b"", sent, 9), LATIN),
        (lambda sent: read(**{sent: 1}), SENT),
        (lambda sent: read(images=sent), SENT),
        (lambda sent: read(images=[sent]), SENT),
        (lambda sent: read(images=[[[0, 0, sent], [0, 0, 0]]]), SENT),
        (lambda sent: infer(sent), SENT),
        (lambda sent: infer({"inputs": sent}), SENT),
        (lambda sent: infer(json_body(IMAGES, outputs=sent)), SENT),
        (lambda sent: infer(json_body(IMAGES, outputs=[{"name": sent}])), SENT),
        (lambda sent: infer(json_body(IMAGES, parameters={"binary_data_output": sent})), SENT),
        (lambda sent: infer_tensor(name=sent), SENT),
        (lambda sent: infer_tensor(datatype=sent), SENT),
        (lambda sent: infer_tensor(shape=sent), SENT),
        (lambda sent: infer_tensor(parameters=sent), SENT),
        (lambda sent: infer_binary(sent), SENT),
        (lambda sent: infer_tensor(data=[sent, 0, 0, 0, 0, 0]), SENT),
        (lambda sent: read_request(b"{}", sent, (2, 3), 4), LATIN),
        (lambda sent: Catalogue("", {}).find(sent), SENT),
        (lambda sent: refuse(unknown_path(sent)), SENT),
        (lambda sent: refuse(wrong_method(sent, "PUT", ["GET"])), SENT),
    ],
)
def test_what_a_client_sent_is_quoted(send: Callable[[str], None], sent: str) -> None:
    with pytest.raises(Refusal) as caught:
        send(sent)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert quote(sent) in message
    assert sent[:MAX_QUOTE_CHARACTERS] not in message


def test_an_unknown_version_is_quoted(predictor: Predictor) -> None:
    catalogue = Catalogue("a", {"a": (ServedModel(predictor),)})
    with pytest.raises(Refusal) as caught:
        catalogue.find("a", SENT)
    assert f"has no version {quote(SENT)};" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("it's \u00e9\n", '"it\'s \\xe9\\n"'),
        ("x" * 40, f"'{'x' * 40}'"),
        ("x" * 41, f"'{'x' * 40}'..."),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "an object"),
        (None, "null"),
        (10**50, f"1{'0' * 39}..."),
    ],
)
def test_values_are_quoted_in_few_characters(value: Any, quoted: str) -> None:
    assert quote(value) == quoted
