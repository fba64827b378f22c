"""The base of the image: as the Dockerfile names it, or where it cannot be pulled a stand-in made of Debian."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clustnet.errors import UserError
from deploy.image.engine import Docker

# Debian's release whose Python is that of the base.
RELEASE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
STAND_IN = [
    "mmdebstrap",
    "--quiet",
    # Nothing of this machine is mounted in it, so that nothing that happens in there can damage a device here.
    *("--mode=root", "--skip=chroot/mount"),
    *("--variant=minbase", "--include=python3,python3-venv"),
    "--dpkgopt=force-unsafe-io",  # a machine that crashes meanwhile makes it again
    # What Debian's slim images leave out, too.
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")),
    *(RELEASE, "-", MIRROR),
]


def base_name(dockerfile: str) -> str:
    """Return the image that the text of a Dockerfile is built on by default."""
    (name,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    return str(name)


@contextmanager
def base(docker: Docker, name: str) -> Iterator[str]:
    """Have the image ``name`` in the engine while the block runs; a stand-in goes again after it.

    Yields:
        Where it is from, for a person.

    Raises:
        UserError: it can neither be pulled nor made.
    """
    if docker.try_("image", "inspect", name).returncode == 0:
        yield "there already"
    elif docker.try_("pull", "--quiet", name).returncode == 0:
        yield "pulled"
    else:
        _make(docker, name)
        try:
            yield f"could not be pulled, so Debian {RELEASE}, minbase with python3, stands in"
        finally:
            docker.try_("image", "rm", name)


def _make(docker: Docker, name: str) -> None:
    if not shutil.which(STAND_IN[0]):
        raise UserError(f"{name} cannot be pulled; install Debian's mmdebstrap, which makes a stand-in, or pull it.")
    importing = docker.pipe("import", "-", name)
    with tempfile.TemporaryDirectory(prefix="clustnet-base-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # apt reads there as a user of its own
        environment = os.environ | {"TMPDIR": folder}
        making = subprocess.Popen(STAND_IN, stdout=importing.stdin, env=environment, start_new_session=True)
        try:
            code = making.wait()
        finally:
            with suppress(ProcessLookupError):  # what is left of it where the wait was interrupted
                os.killpg(making.pid, signal.SIGKILL)
    importing.communicate()
    if code or importing.returncode:
        raise RuntimeError(f"mmdebstrap ended with {code}, docker import with {importing.returncode}")
