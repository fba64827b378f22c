"""Fixtures that tests of several rooms share."""

import os

os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from pathlib import Path

import pytest

from clustnet.bundle import Bundle
from clustnet.datasets import LabelledImages, load
from clustnet.predictor import Predictor
from tests.synthetic import write_bundle


@pytest.fixture(scope="session")
def synthetic_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random bundle; do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "synthetic")


@pytest.fixture(scope="session")
def predictor(synthetic_bundle: Path) -> Predictor:
    return Predictor(Bundle(synthetic_bundle), "cpu")


@pytest.fixture(scope="session")
def mnist_test() -> LabelledImages:
    return load("mnist:test")
