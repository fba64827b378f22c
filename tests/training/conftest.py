from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from clustnet.datasets import LabelledImages
from tests.training.tiny import tiny_recipe
from training.data import load_split
from training.loop import train

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads are slower on batches this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def mnist_train() -> LabelledImages:
    return load_split(tiny_recipe({"data.train_images": 600}).data, "train")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run of two epochs; do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_recipe(), folder)
    return folder
