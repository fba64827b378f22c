"""What recipes are made of: the types of their fields, and the base of their parts. Nothing here needs torch."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
# A share of less than everything.
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """Base of a recipe and its parts: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
