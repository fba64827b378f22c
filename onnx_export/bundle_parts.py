"""What all manifests have in common: the hashes of the files, and the commit of the code."""

import subprocess
from pathlib import Path

from clustnet.files import sha256_of

REPOSITORY = Path(__file__).resolve().parents[1]


def hashes(bundle: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): sha256_of(path) for path in files}


def source_commit() -> str | None:
    """Return the commit of this code, marked ``-dirty`` if the code was changed since, or None outside git."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
