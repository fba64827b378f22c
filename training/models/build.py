"""Networks, built from their specs."""

import math
from typing import overload

from clustnet.errors import UserError
from training.models.convnet_clusters import ConvNetClusters
from training.models.deep_clusters import DeepClusters
from training.models.embedding_mixture import EmbeddingMixture
from training.models.mixture import GatedExperts, MixtureOfExperts
from training.models.spec import ConvNetClustersSpec, DeepClustersSpec, EmbeddingMixtureSpec, MixtureSpec, NetworkSpec


@overload
def build_network(spec: MixtureSpec) -> MixtureOfExperts: ...


@overload
def build_network(spec: DeepClustersSpec) -> DeepClusters: ...


@overload
def build_network(spec: ConvNetClustersSpec) -> ConvNetClusters: ...


@overload
def build_network(spec: EmbeddingMixtureSpec) -> EmbeddingMixture: ...


@overload
def build_network(spec: NetworkSpec) -> GatedExperts: ...


def build_network(spec: NetworkSpec) -> GatedExperts:
    """Return an untrained network.

    Raises:
        UserError: the architecture is for images of another shape.
    """
    if isinstance(spec, MixtureSpec):
        return MixtureOfExperts(spec.model, spec.image_shape, spec.mean, spec.std, len(spec.coarse_labels))
    if isinstance(spec, EmbeddingMixtureSpec):
        return EmbeddingMixture(spec.model, spec.features, spec.components, len(spec.coarse_labels))
    if isinstance(spec, ConvNetClustersSpec):
        return ConvNetClusters(spec.model, spec.clusters, len(spec.mean), spec.mean, spec.std)
    if not isinstance(spec, DeepClustersSpec):
        raise TypeError(f"no network is known for {type(spec).__name__}")
    height, width, *channels = spec.image_shape
    shape = ((channels or [1])[0], height, width)
    if spec.architecture.image_shape not in (shape, (1, 1, math.prod(shape))):
        read, given = ("x".join(map(str, sides)) for sides in (spec.architecture.image_shape, shape))
        raise UserError(
            f"The architecture {spec.architecture.name} reads images of {read}, but the images are {given}; name "
            "another as model.architecture."
        )
    return DeepClusters(spec.architecture, spec.clusters, spec.mean, spec.std)
