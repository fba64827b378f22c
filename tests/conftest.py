"""Fixtures that tests of several rooms share."""

import os
import signal

os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

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
