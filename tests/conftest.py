"""Fixtures that tests of several rooms share, and which tests are heavy."""

import atexit
import os
import signal

os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["WANDB_ERROR_REPORTING"] = "false"

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.datasets import LabelledImages, load
from tests.synthetic import write_bundle

# No deadline, because a busy machine is no fault; the same examples in CI, so that it fails for the change alone.
settings.register_profile("clustnet", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("clustnet")

# Tests in these files and folders start servers or other processes, or train.
HEAVY = (
    "deploy/image",
    "deploy/test_kubernetes.py",
    "deploy/test_prometheus.py",
    "docs/test_examples.py",
    "docs/test_migrating.py",
    "docs/test_notebooks.py",
    "estimators",
    "evaluation/commands/test_evaluate.py",
    "evaluation/files/test_ray_engine.py",
    "onnx_export",
    "review/test_page.py",
    "review/test_splitting.py",
    "review/test_worker.py",
    "serving/keys/test_access.py",
    "serving/middleware/test_cors.py",
    "serving/middleware/test_request_log.py",
    "serving/middleware/test_tracing.py",
    "serving/metrics/test_drift.py",
    "serving/models/test_shared.py",
    "serving/models/test_trial.py",
    "serving/test_endurance.py",
    "serving/test_page.py",
    "serving/test_photographs.py",
    "serving/test_schemathesis.py",
    "serving/test_server.py",
    "serving/test_tree.py",
    "serving/v2/test_client.py",
    "serving/v2/test_repository.py",
    "test_end_to_end.py",
    "test_image_folders.py",
    "test_no_coarse_labels.py",
    "test_other_data.py",
    "test_own_images.py",
    "training/clustering/test_manifold.py",
    "training/commands",
    "training/discover",
    "training/engine/test_processes.py",
    "training/grow",
    "training/methods",
    "training/reports",
    "training/runs",
    "training/test_cifar10.py",
)
TESTS = Path(__file__).parent


def _heavy(path: Path) -> bool:
    place = path.relative_to(TESTS)
    return not {place.as_posix(), *(folder.as_posix() for folder in place.parents)}.isdisjoint(HEAVY)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave heavy files out where no heavy test is wanted, as some take seconds to import."""
    return True if "not heavy" in config.option.markexpr and _heavy(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the heavy tests."""
    for item in items:
        if _heavy(item.path):
            item.add_marker(pytest.mark.heavy)


def _silence_stderr() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


# onnx lists objects that it did not free when Python ends, below the tests' own summary.
atexit.register(_silence_stderr)

# A script's shell starts what is in the background with Ctrl-C ignored, and processes that tests interrupt inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads are slower on batches this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def synthetic_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random bundle; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "synthetic")


@pytest.fixture(scope="session")
def hard_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random bundle of hard routing; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "hard", hard=True, name="hard")


@pytest.fixture(scope="session")
def predictor(synthetic_bundle: Path) -> Predictor:
    return Predictor(Bundle(synthetic_bundle), "cpu")


@pytest.fixture(scope="session")
def mnist_test() -> LabelledImages:
    return load("mnist:test")
