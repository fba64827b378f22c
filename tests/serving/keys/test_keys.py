import codecs
import hashlib
import hmac
from pathlib import Path

import pytest

from clustnet.errors import UserError
from serving.keys.keys import find_key, make_key, read_keys


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def written(folder: Path, *lines: str) -> Path:
    path = folder / "keys"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_of_keys_is_read(tmp_path: Path) -> None:
    one, two = digest_of("one"), digest_of("two").upper()
    path = written(tmp_path, "# who may ask", "", f"ann predict {one}", f"  bob\tadmin,predict  {two}  # on call")
    ann, bob = read_keys(path)
    assert (ann.name, ann.scopes, ann.digest.hex()) == ("ann", {"predict"}, one)
    assert (bob.name, bob.scopes, bob.digest.hex()) == ("bob", {"predict", "admin"}, two.lower())
    assert bob.line() == f"bob predict,admin {two.lower()}"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = written(tmp_path, f"ann predict {digest_of('one')}")
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert [key.name for key in read_keys(path)] == ["ann"]


def test_a_key_is_found_by_its_text_alone(tmp_path: Path) -> None:
    keys = read_keys(written(tmp_path, *(f"{name} predict {digest_of(name * 9)}" for name in ("a", "b", "c"))))
    assert [find_key(keys, (name * 9).encode()) for name in ("a", "b", "c")] == list(keys)
    assert find_key(keys, b"") is None
    assert find_key(keys, digest_of("a" * 9).encode()) is None


def test_the_search_compares_all_keys_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = read_keys(written(tmp_path, *(f"{name} predict {digest_of(name)}" for name in ("a", "b", "c"))))
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert find_key(keys, b"a") is keys[0]
    assert compared == [key.digest for key in keys]


def test_new_keys_are_long_and_kept_hashed(tmp_path: Path) -> None:
    made = [make_key(f"user{i}", ["predict"]) for i in range(20)]
    assert len({secret for secret, _ in made}) == 20
    assert min(len(secret) for secret, _ in made) == 43  # 256 bits in base64
    keys = read_keys(written(tmp_path, *(key.line() for _, key in made)))
    assert [find_key(keys, secret.encode()) for secret, _ in made] == [key for _, key in made]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "holds no key; add a line 'NAME SCOPES SHA256HEX'"),
        (["# nothing"], "holds no key"),
        (["ann predict secret"], "line 1: this is not a key; write 'NAME SCOPES SHA256HEX'"),
        (["", f"ann {'0' * 64}"], "line 2: this is not a key"),
        ([f"ann predict {'0' * 64} more"], "line 1: this is not a key"),
        ([f"ann predict {'g' * 64}"], "line 1: this is not a key"),
        ([f"ann delete {'0' * 64}"], "line 1: The scopes of a key are predict or admin"),
        ([f"ann predict,, {'0' * 64}"], "line 1: The scopes of a key"),
        ([f"an/n predict {'0' * 64}"], "line 1: The name of a key is 1 to 64 letters"),
        ([f"ann predict {'0' * 64}", f"ann admin {'1' * 64}"], "two keys have the name 'ann'"),
    ],
)
def test_a_wrong_file_is_named_without_repeating_it(tmp_path: Path, lines: list[str], says: str) -> None:
    path = written(tmp_path, *lines)
    with pytest.raises(UserError) as caught:
        read_keys(path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_keys(tmp_path)
    (tmp_path / "keys").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not text"):
        read_keys(tmp_path / "keys")


@pytest.mark.parametrize(("name", "scopes"), [("", ["predict"]), ("a b", ["predict"]), ("a", []), ("a", ["root"])])
def test_a_wrong_name_or_scope_makes_no_key(name: str, scopes: list[str]) -> None:
    with pytest.raises(UserError):
        make_key(name, scopes)
