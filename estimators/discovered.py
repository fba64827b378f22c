"""The run of a ``ClustNet`` estimator, on images or on embeddings, as ``clustnet discover`` makes it."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image

from clustnet.corrections.actions import Change
from clustnet.corrections.session import Session
from clustnet.corrections.state import Review
from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.errors import UserError
from estimators.answering import Network
from onnx_export.export import export
from onnx_export.fitting import fit
from onnx_export.reviewed import reviewed_of
from onnx_export.trained import Trained
from training.data.data import CoarseData
from training.discover.arguments import Arguments, read_arguments
from training.discover.arrays import load_embedded
from training.discover.collection import Collection
from training.discover.found import found_by_discover
from training.discover.recipes import ON_EMBEDDINGS
from training.discover.resuming import Resumed
from training.discover.steps import Discovery
from training.discover.subtypes import Assignment, Routing, assigned
from training.engine.progress import unwatched
from training.methods.embedding_clustnet.config import EmbeddingClustNetRecipe
from training.methods.embedding_clustnet.method import EmbeddingClustNetMethod
from training.models.inference import route
from training.models.mixture import GatedExperts
from training.recipe.reading import validated

IMAGES, EMBEDDINGS, LABELS = "images.parquet", "embeddings.npy", "labels.npy"
GONE = "The run of this estimator was temporary and is gone; give ClustNet(run=FOLDER) a folder before fit to keep it."
# Images that are written together.
BLOCK_IMAGES = 256

Labels = NDArray[np.int64]


@contextmanager
def quietly(verbose: bool) -> Iterator[None]:
    """Hide what commands print, and restore torch's choice of algorithms at the end."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        with nullcontext() if verbose else redirect_stdout(io.StringIO()):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)


class ImageRun:
    """A finished run on images.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, images: NDArray[Any], labels: Sequence[str], arguments: dict[str, Any], run: Path) -> "ImageRun":
        """Find the subtypes of images, and return the run.

        Args:
            images: uint8 [N, H, W] or [N, H, W, 3].
            labels: N coarse labels.
            arguments: see ``training.discover.arguments.Arguments``.
            run: a folder, empty or not yet existing.

        Raises:
            UserError: as for ``training.discover.steps.Discovery``.
        """
        given = Arguments(images=run / IMAGES, **arguments)
        given.keep(run)
        _write_table(run / IMAGES, images, labels)
        Discovery(given, run).go()
        return cls(run)

    def network(self) -> Network:
        """Return the network, with the subtypes as they are after all corrections."""
        return Network.of(Trained.of(self.path))

    def learned(self, run: Path) -> "ImageRun":
        """Train again with the corrections, and return the new run in a folder of its own."""
        Resumed(read_arguments(self.path).model_copy(update={"resume": self.path}), run).go()
        return ImageRun(run)

    def save(self, out: Path, **options: Any) -> None:
        """Write the bundle; the options are those of ``onnx_export.export.export``."""
        export(self.path, out, **options)


@dataclass(frozen=True)
class Heads:
    """Gate and experts on embeddings, with their recipe and training data.

    Args:
        recipe: the recipe by which they were trained.
        model: gate and experts, in evaluation mode on the CPU.
        train: the embeddings, in place of images.
    """

    recipe: EmbeddingClustNetRecipe
    model: GatedExperts
    train: LabelledImages

    @classmethod
    def of(cls, train: LabelledImages, clusters: Labels, arguments: Arguments) -> "Heads":
        """Train gate and experts to distinguish clusters, int64 [N], numbered from 0 within each coarse label."""
        counts = [int(clusters[train.coarse == label].max()) + 1 for label in range(len(train.coarse_labels))]
        epochs = {} if arguments.epochs is None else {"epochs": arguments.epochs}
        content = {
            "method": ON_EMBEDDINGS,
            "seed": arguments.seed,
            "data": {"name": "folder"},
            "model": {"experts": max(counts)},
            "partition": {"clusters": dict(zip(train.coarse_labels, counts, strict=True)), **epochs},
            "optimisation": epochs,
        }
        recipe = validated(content, "ClustNet")
        assert isinstance(recipe, EmbeddingClustNetRecipe)  # noqa: S101 - by its method
        rows, coarse = torch.from_numpy(train.images), torch.from_numpy(train.coarse)
        data = CoarseData(rows, coarse, train.coarse_labels, train.mean, train.std)
        method = EmbeddingClustNetMethod(data, recipe, Accelerator(), clusters)
        for _ in method.run(0, unwatched):
            pass
        return cls(recipe, method.model.cpu().eval(), train)


class EmbeddedDiscovery(Discovery):
    """``clustnet discover`` on embeddings: gate and experts are trained on the embeddings themselves."""

    heads: Heads

    def train(self) -> None:
        """Train gate and experts to distinguish the subtypes."""
        self.heads = Heads.of(embeddings_of(self.run), self.found.clusters, self.arguments)

    def _assignment(self, found: Collection) -> Assignment:
        """Return the subtype that the trained model assigns to each embedding."""
        model, train = self.heads.model, self.heads.train
        routed, files = route(model, train.images, self.heads.recipe.hard), [image.file for image in found.images]
        routing = Routing(files, routed.coarse_probability.argmax(axis=1), routed.routing)
        return assigned(files, found.coarse, found.labels, routing, None)


def embeddings_of(run: Path) -> LabelledImages:
    """Return the embeddings that a run uses, float32 [N, D] in place of images."""
    found, embedded = Collection.of(run), load_embedded(read_arguments(run))
    files = [image.file for image in found.images]
    return LabelledImages(
        name="embeddings",
        split="train",
        images=embedded.rows[embedded.places(files)],  # type: ignore[arg-type]
        coarse=found.coarse,
        coarse_labels=tuple(found.labels),
        fine=np.full(len(files), UNKNOWN),
        classes=(),
        mean=(0.0,),
        std=(1.0,),
        files=tuple(files),
    )


class EmbeddedRun:
    """A finished run on embeddings.

    Args:
        path: the run's folder.
        heads: gate and experts that were trained on the embeddings.
    """

    def __init__(self, path: Path, heads: Heads) -> None:
        self.path, self.heads = path, heads

    @classmethod
    def of(cls, rows: NDArray[Any], labels: Sequence[str], arguments: dict[str, Any], run: Path) -> "EmbeddedRun":
        """Find the subtypes of embeddings, float [N, D], and return the run; otherwise as ``ImageRun.of``."""
        given = Arguments(images=run / EMBEDDINGS, labels=run / LABELS, **arguments)
        given.keep(run)
        np.save(run / EMBEDDINGS, rows)
        np.save(run / LABELS, np.array(labels))
        discovery = EmbeddedDiscovery(given, run)
        discovery.go()
        return cls(run, discovery.heads)

    def network(self) -> Network:
        """Return the network, with the subtypes as they are after all corrections."""
        heads, session = self.heads, session_of(self)
        train, recipe = heads.train, heads.recipe
        reviewed = reviewed_of(session.review, train.files or ()) if session.history.done else None
        fitted = fit(heads.model, recipe.hard, recipe.reference, train, None, reviewed)
        mixture = fitted.mixture(heads.model, recipe.hard)
        return Network(mixture, fitted.subtypes, features=train.images.shape[1])

    def learned(self, run: Path) -> "EmbeddedRun":  # noqa: ARG002 - nothing is written
        """Train again with the corrections, and return the new run, which keeps the folder."""
        review, train = session_of(self).review, self.heads.train
        own, clusters = review.of[review.places(train.files or ())], np.empty(len(train), np.int64)
        for label in train.coarse_labels:
            for number, subtype in enumerate(one for one in review.ordered() if one.coarse == label):
                clusters[own == subtype.id] = number
        return EmbeddedRun(self.path, Heads.of(train, clusters, read_arguments(self.path)))

    def save(self, out: Path, **options: Any) -> None:  # noqa: ARG002 - as of ``ImageRun``
        """Refuse to write a bundle.

        Raises:
            UserError: always, as a bundle reads images.
        """
        raise UserError(
            "A bundle reads images, but this ClustNet was fitted on embeddings; fit it on the images, with "
            "encoder=NAME for the encoder that embedded them."
        )


def session_of(run: ImageRun | EmbeddedRun) -> Session:
    """Return the review of a run.

    Raises:
        UserError: the run was temporary and is gone.
    """
    if not run.path.is_dir():
        raise UserError(GONE)
    return Session(run.path, found_by_discover(run.path))


def correct(run: ImageRun | EmbeddedRun, action: Change) -> Review:
    """Do one action in the review of a run, and return the subtypes after it.

    Raises:
        UserError: the action cannot be done.
    """
    session = session_of(run)
    session.do([action])
    return session.review


def _write_table(path: Path, images: NDArray[np.uint8], labels: Sequence[str]) -> None:
    """Write images, as PNG, and their coarse labels to a Parquet table."""
    schema = pa.schema([("image", pa.binary()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, len(images), BLOCK_IMAGES):
            some = slice(start, start + BLOCK_IMAGES)
            writer.write_table(pa.table({"image": [*map(_png, images[some])], "label": labels[some]}, schema))


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    # The fastest compression, as the images are read only once.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
