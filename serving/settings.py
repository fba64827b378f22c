"""Settings from the environment, typed; docs/serving.md lists them."""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clustnet.errors import UserError

PREFIX = "CLUSTNET_"
# The variables that other parts of the project read.
OTHER_NAMES = ("API_KEY", "CACHE", "SHARED_FOLDER", "TEST_DATA")
# The similarity from which a name counts as a misspelt setting, 1 being the same name. Kubernetes sets names such as
# CLUSTNET_PORT_3000_TCP, which are less similar to all settings.
LEAST_LIKENESS = 0.75
# As browsers send it: no path, and no slash at the end.
ORIGIN = re.compile(r"\*|https?://[a-z0-9.:\[\]-]+")
SHIPPED_BUNDLE = Path(__file__).resolve().parents[1] / "models" / "mnist"


def _split(folders: Any) -> Any:
    """Return the folders of a search path such as ``a:b``; a value that is not text stays as it is."""
    return [part for part in folders.split(os.pathsep) if part] if isinstance(folders, str) else folders


Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]


def _origins(value: object) -> object:
    """Return the origins in an environment variable; a value that is not text stays as it is."""
    if not isinstance(value, str):
        return value
    origins = tuple(part.strip() for part in value.split(","))
    if not all(map(ORIGIN.fullmatch, origins)):
        rule = "Input should be origins such as https://example.org, separated by commas, or *"
        raise PydanticCustomError("origins", rule)
    return origins


class Settings(BaseSettings):
    """What an operator sets, each as ``CLUSTNET_NAME`` in the environment; an empty value counts as unset.

    Args:
        bundles: the bundle folders, and folders of them, that are served, separated by ``os.pathsep`` in the
            environment; by default the bundle beside this code.
        device: ``auto`` takes CUDA where it works; with ``cuda`` the service does not start without it.
        workers: server processes.
        grpc_port: the port of the Open Inference Protocol over gRPC; without one, gRPC is off.
        grpc_host: the address that gRPC listens on; other machines reach it only if it is set, for example to 0.0.0.0.
        threads: onnxruntime threads per worker; 1 is fastest on a few cores.
        experts: ``chosen`` runs only the expert that decides for each image, which needs bundles with hard routing.
        max_body_bytes: the largest request body that is read, and the largest size of a compressed one when unpacked.
        max_images: the most images in one request.
        api_keys_file: the file of API keys; without one the service needs none.
        verify_key: the PEM file of the public key that each bundle's signature must match; without one, no signature
            is checked.
        metrics_open: whether ``/metrics`` needs no key even if there are keys.
        cors_origins: the origins whose pages may use this service, separated by commas; ``*`` for all.
        log_requests: which requests get a line in the log: ``errors`` are those with a status of 400 or more.
        feedback: the file to which feedback is added; without one the service takes none.
        feedback_rows: the most rows of feedback that the file may hold.
        feedback_answers: number of last images on which feedback is taken.
        drift_window: number of last images of each model that are compared with its reference.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    bundles: Folders = (SHIPPED_BUNDLE,)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    grpc_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    grpc_host: str = "127.0.0.1"
    threads: Annotated[int, Field(ge=0, le=1024)] = 1
    experts: Literal["all", "chosen"] = "all"
    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    max_images: Annotated[int, Field(ge=1)] = 1024
    api_keys_file: Path | None = None
    verify_key: Path | None = None
    metrics_open: bool = True
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()
    log_requests: Literal["errors", "all", "none"] = "errors"
    feedback: Path | None = None
    feedback_rows: Annotated[int, Field(ge=1)] = 1_000_000
    feedback_answers: Annotated[int, Field(ge=1)] = 1_000_000
    drift_window: Annotated[int, Field(ge=100, le=100_000)] = 1000


def load_settings() -> Settings:
    """Return the settings from the environment.

    Raises:
        UserError: a variable's value cannot be used, or its name is misspelt; the message names the variable.
    """
    _check_names()
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        name = f"{PREFIX}{'_'.join(str(part) for part in fault['loc']).upper()}"
        rule = fault["msg"][0].lower() + fault["msg"][1:]
        raise UserError(f"{name} is {fault['input']!r}, but the {rule}; change or unset it.") from None


def _check_names() -> None:
    """Refuse variables with nearly the name of a setting, which would silently stay unset."""
    known = [*(name.upper() for name in Settings.model_fields), *OTHER_NAMES]
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or name in known:
            continue
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=LEAST_LIKENESS)
        if nearest:
            raise UserError(f"There is no setting {variable}, but {PREFIX}{nearest[0]}; rename or unset it.")


def hand_down_paths(settings: Settings) -> None:
    """Make the paths in the environment absolute, for BentoML's workers, which run in another folder."""
    paths = {
        "BUNDLES": settings.bundles,
        "API_KEYS_FILE": (settings.api_keys_file,),
        "VERIFY_KEY": (settings.verify_key,),
        "FEEDBACK": (settings.feedback,),
    }
    for name, some in paths.items():
        text = os.pathsep.join(str(path.absolute()) for path in some if path)
        if text:
            os.environ[f"{PREFIX}{name}"] = text
