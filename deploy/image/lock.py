"""Read a lock file as pip does: what it installs where."""

import re
from collections.abc import Iterator, Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The markers of the Dockerfile's base on an ordinary machine.
IMAGE = {
    "implementation_name": "cpython",
    "implementation_version": "3.11.0",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def installed(lock: str, markers: Mapping[str, str] = IMAGE) -> Iterator[tuple[Requirement, list[str]]]:
    """Yield each requirement of a lock file's text that is installed where ``markers`` hold, and its hashes."""
    joined = re.sub(r"\\\n\s*", "", lock)
    for line in joined.splitlines():
        if line and not line.lstrip().startswith("#"):
            text, *hashes = line.split("--hash=")
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(dict(markers)):
                yield requirement, [found.strip() for found in hashes]


def versions(lock: str, markers: Mapping[str, str] = IMAGE) -> dict[str, str]:
    """Return the version of each package of a lock file's text that is installed where ``markers`` hold."""
    found = (requirement for requirement, _ in installed(lock, markers))
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}
