"""The models that are served: loaded, replaced and unloaded while requests go on."""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from anyio import to_thread

from clustnet.bundles.predictor import CUDA, Predictor
from clustnet.errors import UserError
from clustnet.packing.signature import check_signature
from serving.models.catalogue import Catalogue, ServedModel, card_of, read_examples, unknown_model
from serving.models.repository import Place, Repository, newness
from serving.models.shared import Agreement, Served, SharedFile, shared_folder
from serving.models.trial import try_in_process
from serving.settings import Settings

# How often a worker checks whether another has loaded or unloaded a model.
LOOK_SECONDS = 1.0

logger = logging.getLogger("bentoml.clustnet")


class Models:
    """The models of the folders that the settings name, which all workers agree on.

    ``now`` is replaced, never changed. ``load`` and ``unload`` may take seconds, so call them in a thread.

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
        # Held during a change, so that others wait.
        self._changing = threading.Lock()
        self.now = Catalogue("", {})
        agreement = self._file.read()
        # The server's first process makes the agreement; workers find it, including those that replace one that died.
        if agreement:
            self._take(agreement)
        else:
            self._start()

    def load(self, name: str) -> None:
        """Read a model's folders again and serve what they hold now, in place of its versions so far.

        Raises:
            Refusal: 404, there is no such model.
            UserError: a bundle cannot be used; everything is served as before.
        """
        with self._changing, self._file.locked():
            versions = self._read(name, tried=True)
            before = self._agreement()
            models = before.models | {name: tuple(map(_served, versions))}
            unloaded = {other: gone for other, gone in before.unloaded.items() if other != name}
            self._agree(before, models, unloaded, {name: versions})

    def unload(self, name: str) -> None:
        """Stop serving all versions of a model; a model that is unloaded already stays so.

        Raises:
            Refusal: 404, there is no such model.
        """
        with self._changing, self._file.locked():
            before = self._agreement()
            if name in before.unloaded:
                return
            if name not in before.models:
                raise unknown_model(name, before.models)
            models = {other: versions for other, versions in before.models.items() if other != name}
            gone = tuple(served.version for served in before.models[name])
            self._agree(before, models, before.unloaded | {name: gone}, {})

    def behind(self) -> bool:
        """Return whether this worker must ``follow``, which is quick to find out.

        It must if another worker has changed what is served, or if it could not load a model of the agreement.
        """
        return self._file.changed() or self._late

    def follow(self) -> None:
        """Serve what the workers agree on; what cannot be loaded stays as it was, and the log says why."""
        try:
            with self._changing:
                self._follow()
        except Exception as error:  # noqa: BLE001 - whatever it is, this worker serves on and tries again
            self._late = True
            self._report(error)

    async def run(self) -> None:
        """Follow what other workers load and unload, as long as the event loop runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.behind():
                await to_thread.run_sync(self.follow)

    def _follow(self) -> None:
        agreement = self._file.read()
        if agreement and (self._late or agreement.generation != self.now.generation):
            self._take(agreement)

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
        """Write what all workers are to serve, and serve it; ``opened`` holds the models that are loaded already."""
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
        """Return the versions that the workers agree on.

        If one cannot be loaded, return those that this worker serves now, or else those that the folders hold now.
        """
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

    def _read(self, name: str, tried: bool = False) -> tuple[ServedModel, ...]:
        """Return all versions of a model that its folders hold now, newest first.

        If ``tried``, each is first tried out in a process of its own.
        """
        with _readable(name):
            models = [self._open(place, tried) for place in self._repository.places(name)]
        if not models and name not in (*self.now.models, *self.now.unloaded):
            raise unknown_model(name, self.now.models)
        if not models:
            raise UserError(f"The folders of CLUSTNET_BUNDLES no longer hold a bundle of '{name}'; put it back.")
        _check_different(models)
        return tuple(sorted(models, key=lambda model: newness(model.manifest.version), reverse=True))

    def _open(self, place: Place, tried: bool = False) -> ServedModel:
        """Return the model of a bundle, opened and warmed up."""
        if self._settings.verify_key:
            check_signature(place.folder, self._settings.verify_key)
        bundle = place.open()
        if tried:
            try_in_process(bundle.folder, self._settings.experts)
        predictor = Predictor(bundle, self._settings.device, self._settings.threads, self._settings.experts)
        predictor.try_out()
        predictor.warm_up(self._settings.max_images)
        fault = _device_fault(self._settings, predictor.provider)
        model = ServedModel(predictor, fault, card_of(bundle), read_examples(bundle))
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


def first_fault(settings: Settings) -> str | None:
    """Load all models and return why the service would not be ready, None if it would be.

    Raises:
        UserError: a folder or a bundle cannot be used.
    """
    return Models(settings).now.fault()


def _device_fault(settings: Settings, provider: str) -> str | None:
    """Return why the service does not run as its operator configured it, None if it does."""
    if settings.device != "cuda" or provider == CUDA:
        return None
    return (
        f"CLUSTNET_DEVICE is cuda, but onnxruntime fell back to {provider}; "
        "install NVIDIA's driver, CUDA and cuDNN for onnxruntime, or set CLUSTNET_DEVICE to auto."
    )


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Raise ``UserError`` for a file that cannot be read, or is removed meanwhile."""
    try:
        yield
    except OSError as error:
        raise UserError(f"The bundle of '{name}' cannot be read: {error}; copy it again, and load it.") from None
