"""Settings from the environment, typed; the README lists them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator sets, each as ``CLUSTNET_NAME`` in the environment.

    Args:
        bundles: the bundle folder that is served.
        device: ``auto`` takes CUDA where it works; ``cuda`` is not ready without it.
        workers: server processes.
        threads: onnxruntime threads a worker; 1 is fastest on a few cores.
        max_body_bytes: the largest request body that is read.
        max_images: the most images in one ``/predict``.
    """

    model_config = SettingsConfigDict(env_prefix="CLUSTNET_")

    bundles: Path = Path("models/mnist")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    threads: Annotated[int, Field(ge=0, le=1024)] = 1
    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    max_images: Annotated[int, Field(ge=1)] = 1024
