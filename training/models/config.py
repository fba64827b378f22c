"""The part of a recipe that describes a mixture of experts. Nothing here needs torch."""

from typing import Annotated, Literal

from pydantic import Field

from training.recipe.parts import Count, Part

MAX_EXPERTS = 1000


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
