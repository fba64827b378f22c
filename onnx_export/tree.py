"""From a run of ``clustnet grow`` to a bundle that answers by walking the tree."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clustnet.bundles.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Abstention,
    Calibration,
    ClassMap,
    InputSpec,
    Manifest,
    Score,
    Subtype,
    TreeLabel,
)
from clustnet.bundles.drift import Observed, reference_of
from clustnet.bundles.predictor import Predictions
from clustnet.bundles.preparation import prepare
from clustnet.datasets.folder import read_files
from clustnet.datasets.folder_layout import TEST, TRAIN
from clustnet.encoders import Embeds, open_encoder
from clustnet.errors import UserError
from clustnet.files import replacing_folder
from onnx_export.bundle_parts import hashes, source_commit
from onnx_export.confidence import fit_confidence, threshold
from onnx_export.fitting import ABSTAINED, MIN_FITTED_IMAGES
from onnx_export.graph_files import OPSET
from onnx_export.inputs import BLOCK_IMAGES, source_of, stacked
from onnx_export.tree_card import tree_card
from onnx_export.tree_graphs import TreeGraph, leaves_of, predict_tree, write_tree_graphs
from onnx_export.tree_parity import check_tree_parity
from training.grow.data import GrowImages, input_of
from training.grow.growing import kept
from training.grow.hierarchy import name_of
from training.grow.network import GrownNetwork, pooled
from training.grow.run import GrowRun
from training.grow.scores import score_node, score_walks
from training.grow.sources import Item

# How many images are compared with torch; fewer with an encoder, as every graph embeds them again.
COMPARED_IMAGES, EMBEDDED_IMAGES = 256, 32
# The principal components of the features that the confidence compares.
MAX_COMPONENTS, IMAGES_A_COMPONENT = 50, 10
DATA = "grow:train"

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """What is exported.

    Args:
        run: a run of ``clustnet grow``.
        items: its images as files.
        images: its images in memory.
        network: the network, in evaluation mode.
        encoder: the encoder that takes the stem's place, on the CPU; None without one.
    """

    run: GrowRun
    items: list[Item]
    images: GrowImages
    network: GrownNetwork
    encoder: Embeds | None

    @property
    def input(self) -> InputSpec:
        """What the graphs read."""
        return input_of(self.run.recipe()) if self.encoder is None else self.encoder.input

    def places(self, split: str) -> Places:
        """Return the places of a split's images, evenly spaced, fewer than 2 * ``MIN_FITTED_IMAGES``, int64 [M]."""
        found = np.flatnonzero(self.images.split == split)
        return found[:: max(1, len(found) // MIN_FITTED_IMAGES)]

    def pixels(self, places: Places) -> Iterator[NDArray[np.uint8]]:
        """Yield images as the graphs read them, some at a time."""
        if self.encoder is None:
            yield self.images.images[torch.from_numpy(places)].numpy()
            return
        files = [self.items[place].file for place in places.tolist()]
        yield from stacked(read_files(files, lambda content: prepare(content, self.input)))


def export_tree(run: Path, out: Path, name: str, version: str) -> tuple[Manifest, float]:
    """Turn the last step of a run into a bundle, which appears whole or not at all.

    Args:
        run: the run's folder.
        out: the bundle's folder; an earlier bundle there is replaced.
        name: the model's name.
        version: the model's version.

    Returns:
        The manifest, and the largest absolute difference between torch and the graphs.

    Raises:
        UserError: no node was learnt, or the images are missing or have changed.
        ParityError: the graphs disagree with the network.
    """
    source = _opened(GrowRun(run))
    train = source.places(TRAIN)
    tree, abstention = _fitted(source, train)
    answers = predict_tree(tree, source.images.images[torch.from_numpy(train)])
    with replacing_folder(out) as bundle:
        write_tree_graphs(bundle, tree, source.images.images, source.encoder)
        compared = source.places(TEST)[: COMPARED_IMAGES if source.encoder is None else EMBEDDED_IMAGES]
        raw = source.images.images[torch.from_numpy(compared)]
        parity = check_tree_parity(bundle, tree, next(source.pixels(compared)), raw)
        manifest = _manifest(source, answers, train, abstention, hashes(bundle), name, version)
        (bundle / "README.md").write_text(tree_card(manifest, source.run.recipe(), parity), encoding="utf-8")
        manifest = manifest.model_copy(update={"files": hashes(bundle)})
        (bundle / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return manifest, parity


def _opened(run: GrowRun) -> Source:
    """Return a run with its images and its encoder, which must be the one that the run was trained with."""
    network, choice = run.network(), run.recipe()
    items, images = kept(run)
    if choice.network.encoder is None:
        return Source(run, items, images, network, None)
    if images.spec.sha256 != network.spec.sha256:
        raise UserError(
            f"{run.path} was trained with a different encoder called {choice.network.encoder!r}; restore that one, "
            "or train again."
        )
    # Graphs are compared on the CPU.
    encoder = open_encoder(choice.network.encoder, device="cpu", threads=0, size=choice.data.size)
    return Source(run, items, images, network, encoder)


@torch.no_grad()
def _fitted(source: Source, train: Places) -> tuple[TreeGraph, Abstention]:
    """Return the whole model, its confidence fitted on every second training image, and the threshold on the others."""
    network = source.network
    features = []
    for part in torch.split(source.images.images[torch.from_numpy(train)], BLOCK_IMAGES):
        stem = network.stem(network.normalise(part))
        features.append(pooled(network.path(())[0].block(stem)))
    rows, leaf = torch.cat(features), source.images.leaf[train]
    # Sorted by class, so that each half has about half of every class.
    order = np.argsort(leaf, kind="stable")
    components = _principal(rows[order[::2]])
    confidence = nn.Sequential(components, fit_confidence(components(rows[order[::2]]), leaf[order[::2]]))
    others = confidence(rows[order[1::2]]).numpy()
    abstention = Abstention(threshold=threshold(others, ABSTAINED), share=ABSTAINED, data=DATA, images=len(others))
    return TreeGraph(network, confidence).eval(), abstention


def _principal(rows: Tensor) -> nn.Linear:
    """Return the map from features to principal components, few enough for their variances to be estimated.

    Args:
        rows: the features, float32 [N, D].
    """
    kept = max(1, min(MAX_COMPONENTS, len(rows) // IMAGES_A_COMPONENT, rows.shape[1]))
    centred = (rows - rows.mean(dim=0)).double()
    # Sorted by ascending eigenvalue.
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    components = nn.Linear(rows.shape[1], kept, bias=False)
    components.weight.copy_(vectors[:, -kept:].T)
    return components


def _manifest(
    source: Source,
    answers: Predictions,
    train: Places,
    abstention: Abstention,
    files: dict[str, str],
    name: str,
    version: str,
) -> Manifest:
    network, recipe = source.network, source.run.recipe()
    labels = network.labels
    tree = tuple(
        TreeLabel(name=name_of(label), parent=parent) for label, parent in zip(labels, network.parents, strict=True)
    )
    coarse = tuple(label.name for label in tree if label.parent < 0)
    leaves = [labels[place] for place in leaves_of(network)]
    subtypes = tuple(Subtype(name=name_of(leaf), coarse_label=leaf[0], named=True) for leaf in leaves)
    own = np.array([[leaf[0] == label for label in coarse] for leaf in leaves])
    observed = Observed.of([answers], source.pixels(train), own.T)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=version,
        method=recipe.method,
        routing="soft",
        created=datetime.now(UTC).replace(microsecond=0),
        source_commit=source_commit(),
        config_hash=recipe.digest(),
        opset=OPSET,
        input=source.input,
        coarse_labels=coarse,
        experts=len(leaves),
        subtypes=subtypes,
        class_map=ClassMap(
            values=_identity(own).tolist(), kind="cells", data=DATA, reference_images=0, reference_indices=[]
        ),
        calibration=Calibration(temperature=1.0, data=DATA, images=0),
        abstention=abstention,
        encoder=source_of(source.encoder),
        tree=tree,
        drift=reference_of(observed, len(leaves), len(leaves), DATA, held_out=False),
        scores=_scores(source),
        files=files,
    )


def _identity(own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the class map of leaves, float64 [C, K, C]: each leaf is a subtype of its own.

    Args:
        own: bool [C, K], whether each leaf lies below each coarse label.
    """
    leaves = np.eye(len(own))
    shared = own.T / own.sum(axis=0)[:, None]
    return np.where(own[:, :, None], leaves[:, None, :], shared[None])


def _scores(source: Source) -> list[Score]:
    """Return the accuracy of the root and of whole walks on the run's test images."""
    walks = score_walks(source.network, source.images, TEST)
    root = score_node(source.network, source.images, (), TEST, 0)
    rows = (
        ("coarse_accuracy", root.accuracy, "most probable child of the root against the true one"),
        ("class_accuracy", walks.leaf_accuracy, "leaf at the end of the walk against the true one"),
    )
    seed = source.run.recipe().seed
    return [
        Score(name=name, value=value, split=TEST, images=root.images, protocol=protocol, seed=seed)
        for name, value, protocol in rows
    ]
