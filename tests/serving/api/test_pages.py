"""The page's files and the model's card, over ASGI; tests/serving/test_page.py uses them in a browser."""

import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from clustnet.bundles.bundle import Bundle
from clustnet.errors import UserError
from serving.api.pages import STATIC
from serving.models import catalogue
from serving.models.catalogue import card_of, read_examples
from serving.settings import Settings
from tests.serving.conftest import client_of
from tests.synthetic import made_up_evaluation, with_evaluation, with_examples, write_bundle

FILES = ["/", "/static/page.js", "/static/palette.css", "/static/style.css", "/model.json", "/metrics", "/docs.json"]


def test_the_page_and_its_files_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    names = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert "static/page.js" in names
    assert {client.get(f"/{name}").status_code for name in names} == {200}


def test_every_module_that_is_imported_is_there() -> None:
    for module in STATIC.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', module.read_text()):
            assert (STATIC / name).is_file(), f"{module.name} imports {name}"


@pytest.mark.parametrize("path", FILES)
def test_every_answer_to_a_browser_is_safe(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_has_no_inline_code() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=", page)


@pytest.mark.parametrize("path", ["/static/%2e%2e/app.py", "/static", "/static/", "/static/none.js"])
def test_nothing_outside_the_folder_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_card_is_the_manifest_without_internals(client: TestClient, synthetic_bundle: Path) -> None:
    card = client.get("/model.json").json()
    manifest = json.loads(Bundle(synthetic_bundle).manifest.model_dump_json())
    assert card.pop("evaluation") is None
    assert card.pop("reads_digits") is True
    assert card.pop("examples") == [0] * 10
    assert card.pop("feedback") is True
    del manifest["files"], manifest["schema_version"], manifest["class_map"]["reference_indices"]
    assert card == manifest


def test_the_card_carries_the_bundles_evaluation(tmp_path: Path) -> None:
    assert card_of(Bundle(with_evaluation(write_bundle(tmp_path / "b"))))["evaluation"] == made_up_evaluation()


def test_a_wrong_evaluation_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(with_evaluation(write_bundle(tmp_path / "b"), images=0))
    with pytest.raises(UserError, match="images: Input should be greater than or equal to 1"):
        card_of(bundle)


def test_examples_are_served_from_memory(tmp_path: Path) -> None:
    plain = write_bundle(tmp_path / "plain", name="plain")
    folder = with_examples(write_bundle(tmp_path / "photos", name="photos"), "red", "blue")
    content = (folder / "examples/1/0.jpg").read_bytes()
    with client_of(Settings(bundles=(plain, folder), device="cpu")) as client:
        card = client.get("/model.json", params={"model": "photos"}).json()
        assert (card["examples"], card["feedback"]) == ([2, 2] + [0] * 8, False)
        (folder / "examples/1/0.jpg").unlink()
        answer = client.get("/examples/1/0.jpg", params={"model": "photos", "version": "1"})
        assert (answer.content, answer.headers["content-type"]) == (content, "image/jpeg")
        assert answer.headers["x-content-type-options"] == "nosniff"
        for path in ("/examples/1/2.jpg", "/examples/x/0.jpg", "/examples/01/0.jpg"):
            answer = client.get(path, params={"model": "photos"})
            says = f"The model 'photos' has no example '{path}'; /model.json says how many examples each subtype has."
            assert (answer.status_code, answer.json()) == (404, {"error": says})
        assert client.get("/examples/1/0.jpg").json()["error"].startswith("The model 'plain' has no example")
        assert client.get("/examples/1/0.jpg?model=no").json()["error"].startswith("There is no model 'no'")


def test_too_large_examples_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(with_examples(write_bundle(tmp_path / "b"), "red"))
    size = sum(bundle.path(f"examples/0/{number}.jpg").stat().st_size for number in (0, 1))
    monkeypatch.setattr(catalogue, "MAX_EXAMPLE_BYTES", size)
    assert list(read_examples(bundle)) == ["examples/0/0.jpg", "examples/0/1.jpg"]
    monkeypatch.setattr(catalogue, "MAX_EXAMPLE_BYTES", size - 1)
    with pytest.raises(UserError, match=r"The examples of .* export it again with --no-examples"):
        read_examples(bundle)


@pytest.mark.parametrize(("data", "preparation"), [("notmnist:train", "resize"), ("mnist:train", "resize")])
def test_models_of_other_images_are_offered_no_digits(tmp_path: Path, data: str, preparation: str) -> None:
    manifest = json.loads((write_bundle(tmp_path / "b") / "manifest.json").read_text())
    manifest["input"]["preparation"] = preparation
    manifest["class_map"]["data"] = data
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    assert card_of(Bundle(tmp_path / "b"))["reads_digits"] is False
