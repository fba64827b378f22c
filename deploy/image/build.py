"""Build the image: its labels from git, its secrets from the standard variables."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from clustnet import __version__
from deploy.image.engine import Docker, running_engine

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIMES = ("cpu", "gpu")
WRONG_INPUT = 2
UNKNOWN = "unknown"
# BuildKit knows these build arguments and keeps them out of the image's history.
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PIP = {"PIP_INDEX_URL": "index-url", "PIP_EXTRA_INDEX_URL": "extra-index-url", "PIP_TRUSTED_HOST": "trusted-host"}
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the image in the engine that runs here and print its name, size and labels."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image.build", description=__doc__)
    parser.add_argument("--runtime", choices=RUNTIMES, default="gpu", help="what runs the models (default: gpu)")
    parser.add_argument("--tag", help="the image's name (default: clustnet:RUNTIME)")
    options = parser.parse_args(arguments)
    tag = options.tag or f"clustnet:{options.runtime}"
    docker = running_engine()
    if not docker:
        print("clustnet: There is no running Docker engine here to keep the image; start one.", file=sys.stderr)
        return WRONG_INPUT
    seconds = build(docker, tag, options.runtime, labels(), secrets(os.environ))
    print(f"{tag}: {megabytes(docker, tag)} MB, built in {seconds:.0f} s")
    return 0


def build(
    docker: Docker,
    tag: str,
    runtime: str,
    labels: Mapping[str, str],
    secrets: Mapping[str, str],
    folder: Path = REPOSITORY,
) -> float:
    """Build the image of ``folder`` and return the seconds that it took.

    Args:
        docker: the engine.
        tag: the image's name.
        runtime: ``cpu`` or ``gpu``.
        labels: values of the Dockerfile's arguments VERSION, REVISION and CREATED.
        secrets: contents of the Dockerfile's secrets ``ca`` and ``pip.conf``, none, one or both.
        folder: what holds the Dockerfile and what it copies.

    Raises:
        RuntimeError: the build failed.
    """
    start = time.monotonic()
    arguments = [f"RUNTIME={runtime}", *(f"{name}={value}" for name, value in labels.items())]
    arguments += [name for name in PROXIES if name in os.environ]
    with _files(secrets) as mounted:
        docker(
            *("build", *docker.build_network(), "--progress", "plain", "--tag", tag),
            *(word for argument in arguments for word in ("--build-arg", argument)),
            *mounted,
            str(folder),
        )
    return time.monotonic() - start


def labels(folder: Path = REPOSITORY) -> dict[str, str]:
    """Return the version, and the commit with its time, of what is in ``folder``; the same for the same commit."""
    revision = _git(folder, "rev-parse", "HEAD")
    if revision != UNKNOWN and _git(folder, "status", "--porcelain"):
        revision += "-changed"
    created = _git(folder, "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd")
    return {"VERSION": __version__, "REVISION": revision, "CREATED": created}


def secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the CA bundle and the pip.conf that the standard variables request, each where there is one."""
    found = {}
    bundle = next((environment[name] for name in CERTIFICATES if environment.get(name)), None)
    if bundle:
        found["ca"] = Path(bundle).read_text(encoding="utf-8")
    lines = [f"{option} = {environment[name]}" for name, option in PIP.items() if environment.get(name)]
    if lines:
        found["pip.conf"] = "\n".join(["[global]", *lines, ""])
    return found


def megabytes(docker: Docker, tag: str) -> int:
    """Return the size of an image, with its base and unpacked, in MB of 10^6 bytes, rounded up."""
    return -(-int(docker("image", "inspect", "--format", "{{.Size}}", tag)) // 10**6)


@contextmanager
def _files(secrets: Mapping[str, str]) -> Iterator[list[str]]:
    """Write secrets into files that go again, and yield the options that name them."""
    with tempfile.TemporaryDirectory(prefix="clustnet-secrets-") as folder:
        options = []
        for name, content in secrets.items():
            file = Path(folder) / name
            file.write_text(content, encoding="utf-8")
            options += ["--secret", f"id={name},src={file}"]
        yield options


def _git(folder: Path, *words: str) -> str:
    """Return what git says, ``unknown`` where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            env=os.environ | {"TZ": "UTC"},
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
