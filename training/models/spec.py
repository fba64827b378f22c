"""Specs of networks: all that a network is rebuilt from, as plain values. Nothing here needs torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from training.models.architecture import Architecture
from training.models.config import ConvNetModel, EmbeddingModel, MixtureModel
from training.recipe.parts import Count, Part


class NetworkSpec(Part):
    """What every network is rebuilt from.

    Args:
        coarse_labels: the names of the K coarse labels.
    """

    coarse_labels: Annotated[tuple[str, ...], Field(min_length=1)]


class ImageSpec(NetworkSpec):
    """What every network that reads images is rebuilt from.

    Args:
        image_shape: shape of one raw image, (H, W) or (H, W, C).
        mean: mean of each channel, for pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
    """

    image_shape: tuple[Count, Count] | tuple[Count, Count, Count]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class MixtureSpec(ImageSpec):
    """A gate over experts that learn, see ``training.models.mixture``.

    Args:
        model: gate and experts.
    """

    kind: Literal["mixture"] = "mixture"
    model: MixtureModel


class DeepClustersSpec(ImageSpec):
    """Clusters in an autoencoder's embedding, see ``training.models.deep_clusters``.

    Args:
        architecture: the autoencoder.
        clusters: number of clusters of each of the K coarse labels.
    """

    kind: Literal["deep_clusters"] = "deep_clusters"
    architecture: Architecture
    clusters: tuple[Count, ...]


class ConvNetClustersSpec(ImageSpec):
    """Clusters of a convolutional network's features, see ``training.models.convnet_clusters``.

    Args:
        model: the network and how its clusters are told apart.
        clusters: number of clusters of each of the K coarse labels.
    """

    kind: Literal["convnet_clusters"] = "convnet_clusters"
    model: ConvNetModel
    clusters: tuple[Count, ...]


class EmbeddingMixtureSpec(NetworkSpec):
    """A gate over experts that read embeddings, see ``training.models.embedding_mixture``.

    Args:
        features: D, length of an embedding.
        components: P, how many principal components are read.
        model: encoder, gate and experts.
        sha256: SHA-256 of the encoder's graph, where it is known.
    """

    kind: Literal["embedding_mixture"] = "embedding_mixture"
    features: Count
    components: Count
    model: EmbeddingModel
    sha256: str | None = None


AnySpec = MixtureSpec | DeepClustersSpec | ConvNetClustersSpec | EmbeddingMixtureSpec
_SPECS: TypeAdapter[AnySpec] = TypeAdapter(Annotated[AnySpec, Field(discriminator="kind")])


def read_spec(content: Mapping[str, Any]) -> NetworkSpec:
    """Return the spec that ``model_dump`` wrote as plain values.

    Raises:
        ValidationError: the content is not a spec.
    """
    return _SPECS.validate_python(content)
