"""The engine that is found or started; a real one is driven by make docker-test."""

import os
import shutil
from pathlib import Path

import pytest

from clustnet.errors import UserError
from deploy.image import engine
from deploy.image.engine import Docker, mounts_below


def test_without_an_engine_and_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Docker, "answers", lambda self: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match=r"no running Docker engine here, .* as root\."), engine.engine():
        pass


def test_a_running_engine_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_command", lambda: "docker")
    monkeypatch.setattr(Docker, "answers", lambda self: True)
    # Docker's bridge.
    monkeypatch.setattr(Docker, "__call__", lambda self, *words: "0123456789ab")
    with engine.engine() as docker:
        assert docker.build_network() == []
        assert docker.run_network(3971) == ["--publish", "127.0.0.1:3971:3971"]


def test_an_engine_without_a_bridge_shares_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Docker, "__call__", lambda self, *words: "")
    assert Docker("docker").build_network() == Docker("docker").run_network(3971) == ["--network", "host"]


def test_a_failed_daemon_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    daemon = tmp_path / "dockerd"
    daemon.write_text('#!/bin/sh\necho "no overlay here: $*" >&2\nexit 3\n')
    daemon.chmod(0o755)
    monkeypatch.setattr(Docker, "answers", lambda self: False)
    monkeypatch.setattr(engine, "_command", lambda: "docker")
    monkeypatch.setattr(shutil, "which", lambda *words, **options: str(daemon))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    with pytest.raises(RuntimeError, match=r"no overlay here: --host unix:.*own/socket --data-root"), engine.engine():
        pass
    assert not (tmp_path / "own").exists()


def test_what_failed_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"docker build failed:\n(.|\n)*nowhere"):
        Docker("ls")("build", str(tmp_path / "nowhere"))


def test_mounts_are_found_innermost_first() -> None:
    rows = ["proc /proc proc rw", "overlay /tmp/a/data overlay rw", "nsfs /tmp/a/data/n nsfs rw", "x /tmp/ab x rw"]
    table = "".join(f"{row} 0 0\n" for row in rows)
    assert mounts_below(Path("/tmp/a"), table) == ["/tmp/a/data/n", "/tmp/a/data"]  # noqa: S108 - only named
