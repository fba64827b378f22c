import logging
import os
from pathlib import Path

import pytest

from serving.keys.key_file import KeyFile
from serving.keys.keys import make_key


def write(path: Path, *names: str) -> dict[str, str]:
    """Write new keys of these names to the file, and return the keys."""
    made = {name: make_key(name, ["predict"]) for name in names}
    path.write_text("".join(f"{key.line()}\n" for _, key in made.values()))
    return {name: secret for name, (secret, _) in made.items()}


def test_a_change_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    old = write(path, "ann", "bob")
    keys = KeyFile(path, look_seconds=0)
    assert [key and key.name for key in map(keys.find, old.values())] == ["ann", "bob"]
    new = write(path, "eve")
    assert [keys.find(secret) for secret in old.values()] == [None, None]
    found = keys.find(new["eve"])
    assert found
    assert found.name == "eve"


def test_it_looks_no_oftener_than_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("serving.keys.key_file.time.monotonic", lambda: now)
    path = tmp_path / "keys"
    write(path, "ann")
    keys = KeyFile(path)
    keys.find("")
    secret = write(path, "eve", "bob")["eve"]
    now += 0.9
    assert keys.find(secret) is None
    now += 0.1
    assert keys.find(secret)


def test_a_file_without_keys_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    secret = write(path, "ann")["ann"]
    keys = KeyFile(path, look_seconds=0)
    assert keys.find(secret)
    with caplog.at_level(logging.ERROR, "bentoml.clustnet"):
        for breakage in (lambda: path.write_text("# none\n"), lambda: path.write_text(""), path.unlink):
            caplog.clear()
            breakage()
            assert [keys.find(secret) for _ in range(3)] == [None] * 3
            (message,) = caplog.messages
            assert message.startswith(f"Of the API keys, 0 are valid: {path} ")
    new = write(path, "bob")["bob"]
    assert keys.find(new)


def test_wrong_lines_leave_the_others_valid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    made = write(path, "ann", "bob", "eve")
    keys = KeyFile(path, look_seconds=0)
    assert all(map(keys.find, made.values()))
    ann, _, eve = path.read_text().splitlines()
    twice = "ann admin " + 64 * "0"
    with caplog.at_level(logging.ERROR, "bentoml.clustnet"):
        # Bob's key is withdrawn, and eve's line has a typing error.
        path.write_text(f"{ann}\n{eve[:-1]}\n{twice}\n")
        assert [key and key.name for key in map(keys.find, made.values())] == ["ann", None, None]
    assert [message.split(f"{path}, ")[1][:7] for message in caplog.messages] == ["line 2:", "line 3:"]
    assert eve[:-1] not in caplog.text


def test_a_replaced_file_of_equal_stamp_is_seen(tmp_path: Path) -> None:
    path, other = tmp_path / "keys", tmp_path / "other"
    write(path, "ann")
    keys = KeyFile(path, look_seconds=0)
    keys.find("")
    secret = write(other, "eve")["eve"]
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert keys.find(secret)


@pytest.mark.parametrize("secret", ["", "x" * 100_000, "\xff\x00"])
def test_any_text_may_be_asked_for(tmp_path: Path, secret: str) -> None:
    write(tmp_path / "keys", "ann")
    assert KeyFile(tmp_path / "keys").find(secret) is None


def test_a_worker_starts_without_a_file(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys", look_seconds=0)
    assert keys.find("x") is None
    assert keys.find(write(tmp_path / "keys", "ann")["ann"])
