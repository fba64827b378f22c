"""API keys: random strings, kept as their SHA-256 in a file of lines ``NAME SCOPES SHA256HEX``."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clustnet.errors import UserError

SCOPES = ("predict", "admin")
# So many random bytes cannot be guessed, and need no slow hash.
SECRET_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
DIGEST = re.compile(r"[0-9a-fA-F]{64}")
LINE = "'NAME SCOPES SHA256HEX', as 'clustnet key NAME' prints it"


@dataclass(frozen=True)
class Key:
    """The stored part of a key.

    Args:
        name: the key's owner, for the log.
        scopes: what the key may do, some of ``SCOPES``.
        digest: the SHA-256 of the key, 32 bytes.
    """

    name: str
    scopes: frozenset[str]
    digest: bytes

    def line(self) -> str:
        """Return the line for the file."""
        return f"{self.name} {','.join(scope for scope in SCOPES if scope in self.scopes)} {self.digest.hex()}"


def make_key(name: str, scopes: Iterable[str]) -> tuple[str, Key]:
    """Return a new secret and the key that is stored for it.

    Raises:
        UserError: the name or a scope cannot be used.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    return secret, Key(_name(name), _scopes(scopes), _digest(secret.encode()))


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file; empty lines and what follows a ``#`` are skipped.

    Raises:
        UserError: the file cannot be read, has no key, a wrong line or the same name twice. The message never repeats
            a line, which may hold a key by mistake.
    """
    keys, faults = usable_keys(path)
    if faults:
        raise faults[0]
    return keys


def usable_keys(path: Path) -> tuple[tuple[Key, ...], list[UserError]]:
    """Return the keys of a file's right lines, and its faults, the first of which ``read_keys`` raises."""
    try:
        lines = _lines(path)
    except UserError as fault:
        return (), [fault]
    keys: dict[str, Key] = {}
    faults: list[UserError] = []
    for place, fields in lines:
        try:
            key = _key(place, fields, keys)
            keys[key.name] = key
        except UserError as fault:
            faults.append(fault)
    if not keys and not faults:
        faults.append(UserError(f"{path} holds no key; add a line {LINE}."))
    return tuple(keys.values()), faults


def find_key(keys: Sequence[Key], secret: bytes) -> Key | None:
    """Return the key of a secret, None if it is unknown; the time it takes reveals nothing about the keys."""
    digest = _digest(secret)
    found = None
    # All keys are compared, even after a match.
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """Return the place and the words of each line that is not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; name a file of API keys.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text; write lines {LINE}.") from None
    words = [(f"{path}, line {number}", line.partition("#")[0].split()) for number, line in enumerate(lines, 1)]
    return [(place, fields) for place, fields in words if fields]


def _key(place: str, fields: list[str], others: Collection[str]) -> Key:
    """Return the key of a line; refuse a wrong line, and one with the name of another key."""
    if len(fields) != 3 or not DIGEST.fullmatch(fields[2]):
        raise UserError(f"{place}: this is not a key; write {LINE}.")
    if fields[0] in others:
        raise UserError(f"{place}: two keys have the name {fields[0]!r}; give each its own name.")
    try:
        return Key(_name(fields[0]), _scopes(fields[1].split(",")), bytes.fromhex(fields[2]))
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError("The name of a key is 1 to 64 letters, digits, '.', '_' or '-'; choose another one.")
    return name


def _scopes(scopes: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(scopes)
    if not chosen or not chosen <= set(SCOPES):
        raise UserError(
            f"The scopes of a key are {' or '.join(SCOPES)}, or both with a comma between them; name one of these."
        )
    return chosen


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
