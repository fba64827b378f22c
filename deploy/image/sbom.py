"""Write the software bill of materials (CycloneDX) of the image's Python packages, from their lock file."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clustnet.files import replacing
from deploy.image.build import REPOSITORY, RUNTIMES
from deploy.image.lock import installed


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one file; the same lock file gives the same bytes."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image.sbom", description=__doc__)
    parser.add_argument("--runtime", choices=RUNTIMES, default="gpu", help="what runs the models (default: gpu)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args(arguments)
    lock = REPOSITORY / "requirements" / f"serving-{options.runtime}.txt"
    with replacing(options.out) as temporary:
        write(lock.read_text(encoding="utf-8"), temporary)
    print(options.out)


def write(lock: str, out: Path) -> None:
    """Write the bill of what a lock file's text installs in the image, checked against CycloneDX's schema.

    Raises:
        subprocess.CalledProcessError: the tool found a fault, which it tells on stderr.
    """
    # The warning: a lock file does not tell which package needs which.
    command = [sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", "requirements", "-"]
    options = ["--pyproject", str(REPOSITORY / "pyproject.toml"), "--output-reproducible", "--output-file", str(out)]
    subprocess.run([*command, *options], input=_requirements(lock), text=True, check=True)


def _requirements(lock: str) -> str:
    """Return the part of a lock file's text that the image installs; the tool would take in all of it."""
    rows = [
        " ".join([requirement.name + str(requirement.specifier), *(f"--hash={hash_}" for hash_ in hashes)])
        for requirement, hashes in installed(lock)
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
