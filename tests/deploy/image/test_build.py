"""Labels and secrets, and the command that builds."""

import subprocess
from pathlib import Path

import pytest

from clustnet import __version__
from deploy.image import build as module
from deploy.image.build import PROXIES, build, labels, main, secrets


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=N", "-c", "user.email=n@example.org"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_labels_are_those_of_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-11-23T03:00:00+02:00")
    (tmp_path / "file").write_text("1")
    for words in (["init", "--quiet"], ["add", "file"], ["commit", "--quiet", "-m", "one"]):
        git(tmp_path, *words)
    revision = git(tmp_path, "rev-parse", "HEAD")
    expected = {"VERSION": __version__, "REVISION": revision, "CREATED": "2026-11-23T01:00:00Z"}
    assert labels(tmp_path) == expected
    (tmp_path / "file").write_text("2")
    assert labels(tmp_path)["REVISION"] == f"{revision}-changed"


def test_without_git_the_commit_is_unknown(tmp_path: Path) -> None:
    assert labels(tmp_path) == {"VERSION": __version__, "REVISION": "unknown", "CREATED": "unknown"}


def test_secrets_come_from_the_standard_variables(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    environment = {"SSL_CERT_FILE": str(bundle), "PIP_CERT": "", "PIP_INDEX_URL": "https://u:p@example.org/simple"}
    expected = {"ca": "certificates", "pip.conf": "[global]\nindex-url = https://u:p@example.org/simple\n"}
    assert secrets(environment) == expected
    assert secrets({"PIP_CERT": ""}) == {}


def test_the_command_shows_no_secrets_or_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://user:password@proxy.example.org")
    seen: dict[str, str] = {}

    class Engine:
        def build_network(self) -> list[str]:
            return ["--network", "host"]

        def __call__(self, *words: str) -> str:
            (option,) = (word for word in words if word.startswith("id="))
            seen.update(words=" ".join(words), file=option.partition("src=")[2])
            seen["content"] = Path(seen["file"]).read_text()
            return ""

    build(Engine(), "tag", "cpu", {"VERSION": "1"}, {"ca": "PEM"}, Path("/context"))  # type: ignore[arg-type]
    assert seen["content"] == "PEM"
    assert not Path(seen["file"]).exists()
    assert "--build-arg RUNTIME=cpu --build-arg VERSION=1 --build-arg https_proxy --secret id=ca," in seen["words"]
    assert "password" not in seen["words"]
    assert seen["words"].endswith(" /context")


def test_without_an_engine_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "running_engine", lambda: None)
    assert main(["--runtime", "cpu"]) == 2
    assert capsys.readouterr().err == "clustnet: There is no running Docker engine here to keep the image; start one.\n"
