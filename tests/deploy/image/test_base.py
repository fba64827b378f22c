"""The base: there, pulled, or made."""

import re
import subprocess
from typing import Any

import pytest

from clustnet.errors import UserError
from deploy.image import base as module
from deploy.image.base import base, base_name
from deploy.image.build import REPOSITORY


class Engine:
    """Says that the commands in ``works`` succeed, and keeps what it was asked."""

    def __init__(self, *works: str) -> None:
        self.works = works
        self.asked: list[str] = []

    def try_(self, *words: str) -> Any:
        self.asked.append(" ".join(words))
        return subprocess.CompletedProcess(words, 0 if words[0] in self.works else 1)


def test_the_name_is_the_dockerfiles() -> None:
    assert base_name((REPOSITORY / "Dockerfile").read_text()) == "python:3.11-slim"


def test_the_image_runs_as_its_own_user() -> None:
    _, _, served = (REPOSITORY / "Dockerfile").read_text().rpartition("\nFROM ")
    made = re.findall(r"useradd .*--uid (\d+)", served)
    assert re.findall(r"^USER (.+)$", served, re.MULTILINE) == made
    assert int(made[0]) > 0
    # Kubernetes' runAsNonRoot needs a number; what runs comes after it.
    assert served.index("\nUSER ") < served.index("\nCMD ")


@pytest.mark.parametrize(("works", "says"), [("image", "there already"), ("pull", "pulled")])
def test_the_real_base_comes_first_and_stays(works: str, says: str) -> None:
    docker = Engine(works)
    with base(docker, "python:3.11-slim") as origin:  # type: ignore[arg-type]
        assert origin == says
    assert "image rm python:3.11-slim" not in docker.asked


def test_a_stand_in_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(module, "_make", lambda docker, name: made.append(name))
    docker = Engine()
    with base(docker, "python:3.11-slim") as origin:  # type: ignore[arg-type]
        assert made == ["python:3.11-slim"]
        assert "could not be pulled" in origin
    assert docker.asked[-1] == "image rm python:3.11-slim"


def test_without_mmdebstrap_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="install Debian's mmdebstrap"), base(Engine(), "name"):  # type: ignore[arg-type]
        pass
