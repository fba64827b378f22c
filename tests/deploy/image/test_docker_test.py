"""The parts of make docker-test that need no engine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clustnet.errors import UserError
from deploy.image import docker_test
from deploy.image.build import REPOSITORY
from deploy.image.docker_test import copy_context, main


def test_the_context_has_all_that_the_dockerfile_copies(tmp_path: Path) -> None:
    copy_context(tmp_path)
    dockerfile = (tmp_path / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+)", dockerfile, re.MULTILINE)
    assert {"models", "clustnet", "serving"} <= set(copied)
    for name in copied:
        assert (tmp_path / name.replace("${RUNTIME}", "cpu")).exists()
    assert not list(tmp_path.rglob("__pycache__"))


def test_the_context_is_only_what_the_image_takes() -> None:
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert allowed[1:] == ["bentofile.yaml", "models", "clustnet", "serving"]


def test_without_an_engine_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def none() -> Iterator[None]:
        raise UserError("There is no engine; start one.")
        yield

    monkeypatch.setattr(docker_test, "engine", none)
    monkeypatch.setattr(docker_test.signal, "signal", lambda *words: None)
    assert main([]) == 2
    assert capsys.readouterr() == ("", "clustnet: There is no engine; start one.\n")


def test_every_secret_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    marked, canary = docker_test._marked({"ca": "PEM"})
    assert set(marked) == {"ca", "pip.conf"}
    assert marked["ca"] == f"# {canary}\nPEM"
    assert all(content.count(canary) == 1 for content in marked.values())
