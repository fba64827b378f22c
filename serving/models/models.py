"""The models that are served: loaded, replaced and unloaded while requests go on."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clustnet.bundles.bundle import Bundle, Manifest
from clustnet.bundles.evaluation_file import read_evaluation
from clustnet.bundles.predictor import CUDA, Predictor
from clustnet.errors import UserError
from serving.models.repository import Place, Repository, newness
from serving.models.shared import Agreement, Served, SharedFile, shared_folder
from serving.refusals import Refusal, quote
from serving.routes import LOAD
from serving.settings import Settings

MAX_LISTED_NAMES = 10
# The reason that Triton's index gives.
UNLOADED = "unloaded"
# The data set that the page's strip of test digits is from.
DIGITS = "mnist"

logger = logging.getLogger("bentoml.clustnet")


@dataclass(frozen=True)
class ServedModel:
    """One version of a model, ready to answer.

    Args:
        predictor: answers; its manifest names the model.
        fault: why the model is not ready, None where it is.
        card: the answer of ``/model.json``.
    """

    predictor: Predictor
    fault: str | None = None
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """Return the bundle's manifest."""
        return self.predictor.manifest

    def info(self) -> tuple[Manifest, str, bool]:
        """Return the manifest, what runs the model, and whether it is ready."""
        return self.manifest, self.predictor.provider, self.fault is None

    def check_ready(self) -> None:
        """Refuse with 503 while the model is not ready."""
        if self.fault:
            raise Refusal(503, "not_ready", self.fault)


@dataclass(frozen=True)
class Catalogue:
    """The models at one moment; a request that holds a model keeps it, whatever is loaded meanwhile.

    Args:
        default: the name of the model that answers where a request names none.
        models: the versions of each model, newest first.
        unloaded: the versions that each unloaded model had.
        generation: that of the agreement that it follows.
    """

    default: str
    models: Mapping[str, tuple[ServedModel, ...]]
    unloaded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    generation: int = 0

    def all(self) -> list[ServedModel]:
        """Return all versions of all models, those of the default model first."""
        names = sorted(self.models, key=lambda name: name != self.default)
        return [model for name in names for model in self.models[name]]

    def versions(self, name: str | None = None) -> tuple[ServedModel, ...]:
        """Return all versions of a model, newest first; None is the default model.

        Raises:
            Refusal: 404, there is no such model, or it is unloaded.
        """
        name = self.default if name is None else name
        if name in self.models:
            return self.models[name]
        if name in self.unloaded:
            path = LOAD.path.format(name=name)
            message = f"The model '{name}' is unloaded; load it with POST {path}."
            raise Refusal(404, "unknown_model", message)
        raise _unknown(name, self.models)

    def find(self, name: str | None = None, version: str | None = None) -> ServedModel:
        """Return one version of a model, by default the newest one.

        Raises:
            Refusal: 404, as ``versions``, or there is no such version.
        """
        versions = self.versions(name)
        for model in versions:
            if version in (None, model.manifest.version):
                return model
        found = _listed(model.manifest.version for model in versions)
        message = f"'{versions[0].manifest.name}' has no version {quote(version)}; this service has {found}."
        raise Refusal(404, "unknown_model", message)

    def fault(self) -> str | None:
        """Return why the service is not ready, None where it is."""
        return next((model.fault for model in self.all() if model.fault), None)

    def index(self) -> list[dict[str, str]]:
        """Return a row for each version of each model, as the protocol's index has them."""
        loaded = [
            _row(model.manifest.name, model.manifest.version, "UNAVAILABLE" if model.fault else "READY", model.fault)
            for model in self.all()
        ]
        gone = [
            _row(name, version, "UNAVAILABLE", UNLOADED) for name in self.unloaded for version in self.unloaded[name]
        ]
        return loaded + gone


class Models:
    """The models of the folders that the settings name, which all workers agree on.

    ``now`` is replaced, never changed. All methods but ``behind`` may take seconds, so call them in a thread, one at a
    time.

    Args:
        settings: the folders, the device and the threads.
        changed: called with each new catalogue before it is served.

    Raises:
        UserError: a folder or a bundle cannot be used.
    """

    def __init__(self, settings: Settings, changed: Callable[[Catalogue], None] = lambda _: None) -> None:
        self._settings = settings
        self._changed = changed
        self._repository = Repository(settings.bundles)
        self._file = SharedFile(shared_folder())
        # Whether a model of the agreement could not be loaded.
        self._late = False
        self._reported = ""
        self.now = Catalogue("", {})
        agreement = self._file.read()
        # The server's first process makes it; a worker may also replace one that died.
        if agreement:
            self._take(agreement)
        else:
            self._start()

    def load(self, name: str) -> None:
        """Read a model's folders again and serve what they hold now, in place of its versions until then.

        Raises:
            Refusal: 404, there is no such model.
            UserError: a bundle cannot be used; all is served as before.
        """
        with self._file.locked():
            versions = self._read(name)
            before = self._agreement()
            models = before.models | {name: tuple(map(_served, versions))}
            unloaded = {other: gone for other, gone in before.unloaded.items() if other != name}
            self._agree(before, models, unloaded, {name: versions})

    def unload(self, name: str) -> None:
        """Stop serving all versions of a model; a model that is unloaded already stays so.

        Raises:
            Refusal: 404, there is no such model.
        """
        with self._file.locked():
            before = self._agreement()
            if name in before.unloaded:
                return
            if name not in before.models:
                raise _unknown(name, before.models)
            models = {other: versions for other, versions in before.models.items() if other != name}
            gone = tuple(served.version for served in before.models[name])
            self._agree(before, models, before.unloaded | {name: gone}, {})

    def behind(self) -> bool:
        """Return whether another worker has changed what is served, so that this one must ``follow``; it is quick."""
        return self._file.changed() or self._late

    def follow(self) -> None:
        """Serve what the workers agree on; what cannot be loaded stays as it was, with a sentence in the log."""
        try:
            agreement = self._file.read()
            if agreement and (self._late or agreement.generation != self.now.generation):
                self._take(agreement)
        except Exception as error:  # noqa: BLE001 - whatever it is, this worker serves on and tries again
            self._late = True
            self._report(error)

    def _start(self) -> None:
        models = {name: self._read(name) for name in self._repository.names()}
        agreement = Agreement(generation=0, default=next(iter(models)), models={}, unloaded={})
        self._agree(agreement, {name: tuple(map(_served, models[name])) for name in models}, {}, models)

    def _agreement(self) -> Agreement:
        agreement = self._file.read()
        if agreement is None:
            raise UserError(f"The workers' shared file {self._file.path} is gone; start the service again.")
        return agreement

    def _agree(
        self,
        before: Agreement,
        models: dict[str, tuple[Served, ...]],
        unloaded: dict[str, tuple[str, ...]],
        opened: Mapping[str, tuple[ServedModel, ...]],
    ) -> None:
        """Write what all workers are to serve, and serve it; ``opened`` are the models that are loaded for it."""
        update = {"generation": before.generation + 1, "models": models, "unloaded": unloaded}
        agreement = before.model_copy(update=update)
        self._file.write(agreement)
        self._take(agreement, opened)

    def _take(self, agreement: Agreement, opened: Mapping[str, tuple[ServedModel, ...]] | None = None) -> None:
        self._late = False
        models = {
            name: (opened or {}).get(name) or self._agreed(name, versions)
            for name, versions in agreement.models.items()
        }
        catalogue = Catalogue(agreement.default, models, agreement.unloaded, agreement.generation)
        self._changed(catalogue)
        self.now = catalogue

    def _agreed(self, name: str, versions: Iterable[Served]) -> tuple[ServedModel, ...]:
        """Return the versions that the workers agree on; where the folders have changed since, what can be had."""
        try:
            return tuple(self._known(served) or self._same(served) for served in versions)
        except (UserError, OSError) as error:
            if name not in self.now.models:
                return self._read(name)
            self._late = True
            self._report(error)
            return self.now.models[name]

    def _known(self, served: Served) -> ServedModel | None:
        return next((model for model in self.now.all() if _served(model) == served), None)

    def _same(self, served: Served) -> ServedModel:
        model = self._open(Place(served.folder))
        if _served(model) != served:
            raise UserError(f"{served.folder} has changed since it was loaded; load the model again.")
        return model

    def _read(self, name: str) -> tuple[ServedModel, ...]:
        """Open all versions of a model that its folders hold now, newest first."""
        with _readable(name):
            models = [self._open(place) for place in self._repository.places(name)]
        if not models and name not in (*self.now.models, *self.now.unloaded):
            raise _unknown(name, self.now.models)
        if not models:
            raise UserError(f"The folders of CLUSTNET_BUNDLES hold no bundle of '{name}' any more; put it back.")
        _check_different(models)
        return tuple(sorted(models, key=lambda model: newness(model.manifest.version), reverse=True))

    def _open(self, place: Place) -> ServedModel:
        """Return the model of a bundle that was opened and ran once."""
        bundle = place.open()
        predictor = Predictor(bundle, self._settings.device, self._settings.threads, self._settings.experts)
        predictor.try_out()
        model = ServedModel(predictor, _device_fault(self._settings, predictor.provider), card_of(bundle))
        if place.open().manifest != bundle.manifest:
            raise UserError(f"{place.folder} changed while it was read; load the model again.")
        return model

    def _report(self, error: Exception) -> None:
        """Log once why this worker does not serve what the others serve."""
        if str(error) != self._reported:
            self._reported = str(error)
            logger.error("A model could not be loaded in this worker: %s", error)


def _served(model: ServedModel) -> Served:
    digest = hashlib.sha256(model.manifest.model_dump_json().encode()).hexdigest()
    return Served(folder=model.predictor.bundle.folder, version=model.manifest.version, digest=digest)


def _check_different(models: Iterable[ServedModel]) -> None:
    """Check that no two folders hold the same version."""
    seen: dict[str, ServedModel] = {}
    for model in models:
        version = model.manifest.version
        other = seen.setdefault(version, model)
        if other is not model:
            folders = f"{other.predictor.bundle.folder} and {model.predictor.bundle.folder}"
            what = f"version '{version}' of the model '{model.manifest.name}'"
            raise UserError(f"{folders} both hold {what}; remove one, or export it as another version.")


def card_of(bundle: Bundle) -> dict[str, Any]:
    """Return the card of a bundle for ``/model.json``: its manifest without file names, and its evaluation.

    Raises:
        UserError: the bundle carries an evaluation that cannot be used.
    """
    manifest = bundle.manifest
    unneeded = {"schema_version": True, "files": True, "class_map": {"reference_indices"}}
    evaluation = read_evaluation(bundle)
    return {
        **manifest.model_dump(mode="json", exclude=unneeded),  # type: ignore[arg-type]
        "evaluation": evaluation and evaluation.model_dump(mode="json"),
        "reads_digits": reads_digits(manifest),
    }


def reads_digits(manifest: Manifest) -> bool:
    """Return whether the model reads MNIST's digits, so that the page offers it some."""
    name, _, _ = manifest.class_map.data.partition(":")
    return name == DIGITS and manifest.input.preparation == "mnist"


def first_fault(settings: Settings) -> str | None:
    """Load all models and return why the service would not be ready, None where it would be.

    Raises:
        UserError: a folder or a bundle cannot be used.
    """
    return Models(settings).now.fault()


def _device_fault(settings: Settings, provider: str) -> str | None:
    """Return why the service does not run as its operator set, None where it does."""
    if settings.device != "cuda" or provider == CUDA:
        return None
    return (
        f"CLUSTNET_DEVICE is cuda, but onnxruntime fell back to {provider}; "
        "install NVIDIA's driver, CUDA and cuDNN for onnxruntime, or set CLUSTNET_DEVICE to auto."
    )


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn a file that cannot be read, or is removed meanwhile, into a sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"The bundle of '{name}' cannot be read: {error}; copy it again, and load it.") from None


def _unknown(name: str, names: Iterable[str]) -> Refusal:
    message = f"There is no model {quote(name)}; this service has {_listed(names)}."
    return Refusal(404, "unknown_model", message)


def _row(name: str, version: str, state: str, reason: str | None) -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason or ""}


def _listed(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    more = ", ..." if len(quoted) > MAX_LISTED_NAMES else ""
    return ", ".join(quoted[:MAX_LISTED_NAMES]) + more if quoted else "none"
