"""The part of a recipe that describes a mixture of experts. Nothing here needs torch."""

from typing import Annotated, Literal

from pydantic import Field

from clustnet.bundles.preparation import MAX_SIDE_PIXELS
from training.recipe.parts import Count, Epochs, Part, Positive

MAX_EXPERTS = 1000

Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]


class MixtureModel(Part):
    """The gate and its experts.

    Args:
        experts: number of experts, E.
        expert: their capacity. ``linear``: one linear layer on the pixels; ``small_cnn``: two small
            convolutions; ``large_cnn``: enough to solve the task alone; ``shared``: a linear head on the
            gate's encoder.
        expert_channels: channels of ``small_cnn``'s two convolutions.
        channels: channels of the encoder's two convolutions.
        embedding: width of the encoder's output.
        batch_norm: whether the encoder's layers are batch-normalised.
    """

    experts: Annotated[int, Field(ge=1, le=MAX_EXPERTS)] = 5
    expert: Literal["linear", "small_cnn", "large_cnn", "shared"] = "linear"
    expert_channels: tuple[Count, Count] = (3, 6)
    channels: tuple[Count, Count] = (16, 32)
    embedding: Count = 64
    batch_norm: bool = False


class EmbeddingModel(Part):
    """A frozen encoder, and the gate and its experts that read its embeddings.

    Args:
        encoder: a name, a folder or FILE.onnx, see ``clustnet.encoders.open_encoder``; ``a,b`` for two side by side.
        size: height and width of the images that are embedded; what the encoder reads by default.
        views: number of random crops of each training image that are embedded, too.
        experts: number of experts, E.
        expert: ``linear``: one linear layer on the components; ``projection``: one on a few random projections of
            them, which are not trained.
        expert_inputs: number of random projections.
        components: largest number of principal components of the embeddings that gate and experts read.
        hidden: width of the gate's first layer.
    """

    encoder: str = "lite0"
    size: tuple[Side, Side] | None = None
    views: Epochs = 4
    experts: Annotated[int, Field(ge=1, le=MAX_EXPERTS)] = 5
    expert: Literal["linear", "projection"] = "linear"
    expert_inputs: Count = 8
    components: Count = 64
    hidden: Count = 128


class ConvNetModel(Part):
    """A convolutional network, and the clusters of its features, which are the experts.

    Args:
        network: ``alexnet`` or ``vgg16``, with batch normalisation, or ``alexnet_small`` for images of 32 to 64 pixels.
        channels: channels of ``alexnet_small``'s five convolutions.
        embedding: number of ``alexnet_small``'s features.
        sobel: whether fixed filters first turn images into the gradients of their grey values.
        experts: number of clusters in all, about ten times as many as there are classes.
        version: 1 trains a classifier on the clusters (DeepCluster), 2 trains towards their centroids (DeepCluster-v2).
        projection: length of the projected features that version 2 clusters.
        temperature: temperature of version 2 for the similarity to the centroids.
    """

    network: Literal["alexnet_small", "alexnet", "vgg16"] = "alexnet_small"
    channels: tuple[Count, Count, Count, Count, Count] = (32, 64, 128, 128, 128)
    embedding: Count = 256
    sobel: bool = False
    experts: Annotated[int, Field(ge=2, le=MAX_EXPERTS)] = 100
    version: Literal[1, 2] = 2
    projection: Count = 64
    temperature: Positive = 0.1
