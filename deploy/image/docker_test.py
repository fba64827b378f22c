"""Build the image, run it hardened, and look at all that it has to do: ``make docker-test``."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from clustnet.errors import UserError
from deploy.image import checks
from deploy.image.base import base, base_name
from deploy.image.build import REPOSITORY, RUNTIMES, WRONG_INPUT, build, labels, megabytes, secrets
from deploy.image.container import Container, running
from deploy.image.engine import Docker, engine

TAG, CHANGED = "clustnet-docker-test:first", "clustnet-docker-test:changed"
CONTEXT = ("Dockerfile", ".dockerignore", "bentofile.yaml", "requirements", "models", "clustnet", "serving")
FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each thing that was seen; exit with 1 at the first that is wrong, with 2 without an engine."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image.docker_test", description=__doc__)
    parser.add_argument("--runtime", choices=RUNTIMES, default="cpu", help="what runs the models (default: cpu)")
    runtime = parser.parse_args(arguments).runtime
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))  # so that the engine is stopped then, too
    try:
        with engine() as docker, base(docker, base_name((REPOSITORY / "Dockerfile").read_text())) as origin:
            say("engine", docker("version", "--format", "Docker {{.Server.Version}}"))
            say("base", origin)
            see_all(docker, runtime)
    except UserError as error:
        print(f"clustnet: {error}", file=sys.stderr)
        return WRONG_INPUT
    except (AssertionError, RuntimeError) as error:
        print(f"docker-test: FAILED: {error}", file=sys.stderr)
        return FAILED
    say("docker-test", "passed")
    return 0


def say(what: str, seen: str) -> None:
    """Print a line at once."""
    print(f"{what}: {seen}", flush=True)


def see_all(docker: Docker, runtime: str) -> None:
    """Build the image and run every check; the images go again at the end."""
    marked, canary = _marked(secrets(os.environ))
    try:
        with tempfile.TemporaryDirectory(prefix="clustnet-context-") as folder:
            copy_context(Path(folder))
            made_of = labels()
            seconds = build(docker, TAG, runtime, made_of, marked, Path(folder))
            say("build", f"{runtime}, {seconds:.0f} s")
            checks.change(Path(folder))
            seconds = build(docker, CHANGED, runtime, made_of, marked, Path(folder))
        say("build after a change of the code", checks.check_rebuild(docker, TAG, CHANGED, seconds))
        say("size", checks.check_size(megabytes(docker, TAG), runtime))
        say("labels", checks.check_labels(docker, TAG, made_of))
        say("secrets", checks.check_secrets(docker, TAG, canary))
        limits = {"CLUSTNET_WORKERS": "2", "CLUSTNET_MAX_BODY_BYTES": str(checks.MOST_BYTES)}
        with running(docker, TAG, **limits) as container:
            see_container(container, runtime)
        say("CLUSTNET_DEVICE=cuda without a GPU", checks.check_cuda(docker, TAG))
    finally:
        for tag in (TAG, CHANGED):
            docker.try_("image", "rm", tag)


def see_container(container: Container, runtime: str) -> None:
    """Run the checks of a container of two workers, which has stopped at the end."""
    say("healthy", f"after {container.wait_healthy():.1f} s")
    say("hardened", checks.check_hardened(container))
    say("contents", checks.check_contents(container, runtime))
    say("predictions", checks.check_predictions(container))
    say("metrics", checks.check_metrics(container))
    say("size limit", checks.check_size_limit(container))
    say("workers", checks.check_killed_worker(container))
    say("SIGTERM", checks.check_sigterm(container))


def copy_context(folder: Path) -> None:
    """Copy what the image is built of, with the times of the files, so that a test can change it."""
    for name in CONTEXT:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)


def _marked(found: dict[str, str]) -> tuple[dict[str, str], str]:
    """Return the secrets, with a pip.conf in any case, each with a comment to search the image for; and that."""
    canary = f"clustnet-canary-{uuid.uuid4().hex}"
    found = {"pip.conf": "[global]\n"} | found
    return {name: f"# {canary}\n{content}" for name, content in found.items()}, canary


if __name__ == "__main__":
    raise SystemExit(main())
