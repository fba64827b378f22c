"""Each check that has no need of a container fails where it should."""

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from deploy.image import checks


def tar(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


class Saved:
    """An engine with one image, of one layer with one file, and a line of history."""

    def __init__(self, folder: Path, file: bytes = b"code", history: str = "RUN pip") -> None:
        self.file = folder / "image.tar"
        self.file.write_bytes(tar({"manifest.json": b"[]", "one/layer.tar": tar({"srv/file": file})}))
        self.history = history

    def __call__(self, *words: str) -> str:
        return self.history if words[0] == "history" else "[]"

    def pipe(self, *words: str) -> Any:
        return subprocess.Popen(["cat", self.file], stdout=subprocess.PIPE)


def test_secrets_in_layers_or_history_are_found(tmp_path: Path) -> None:
    assert "2 files" in checks.check_secrets(Saved(tmp_path), "tag", "canary")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="a secret in srv/file"):
        checks.check_secrets(Saved(tmp_path, file=b"x canary x"), "tag", "canary")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="a secret in the history"):
        checks.check_secrets(Saved(tmp_path, history="ARG canary"), "tag", "canary")  # type: ignore[arg-type]


def test_an_image_may_be_only_so_large() -> None:
    assert checks.check_size(500, "cpu").startswith("500 MB")
    with pytest.raises(AssertionError, match="the image has 501 MB, over 500"):
        checks.check_size(501, "cpu")


def test_labels_must_be_the_ones_that_were_given() -> None:
    def docker(*words: str) -> str:
        return json.dumps({"org.opencontainers.image.version": "0.1.0", "org.opencontainers.image.revision": "unknown"})

    assert checks.check_labels(docker, "tag", {"VERSION": "0.1.0"}) == "version 0.1.0"  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="label revision is 'unknown', not 'abc'"):
        checks.check_labels(docker, "tag", {"REVISION": "abc"})  # type: ignore[arg-type]


@pytest.mark.parametrize(("after", "right"), [("abd", True), ("axd", False), ("abc", False)])
def test_code_changes_the_last_layer_only(after: str, right: bool) -> None:
    layers = {"first": list("abc"), "second": list(after)}

    def docker(*words: str) -> str:
        return json.dumps(layers[words[-1]])

    if right:
        assert "2 of 3 layers" in checks.check_rebuild(docker, "first", "second", 1.0)  # type: ignore[arg-type]
    else:
        with pytest.raises(AssertionError, match="layers"):
            checks.check_rebuild(docker, "first", "second", 1.0)  # type: ignore[arg-type]


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PATIENCE_SECONDS", 0)
    assert checks.until(lambda: True, "it") >= 0
    with pytest.raises(AssertionError, match="it within 0 s: no"):
        checks.until(lambda: False, "it")
