"""Vision: the dimensions of an image encoder and of the connector that joins it to a decoder."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataflow.errors import PathProblems

# Strict, so that 28.0 and true are refused as counts.
Extent = Annotated[int, Field(ge=1, strict=True, json_schema_extra={"unit": "count", "example": "1536"})]
CHANNELS = 3  # red, green, blue


class Vision(BaseModel):
    """The dimensions of a vision transformer and its connector, read from YAML; formats are those of the decoder.

    A frame is cut into square patches, each one row. Every layer is norm, q k v, attention of every patch to every
    patch, o, residual, norm, GELU FFN, residual; norms are layer norms. Mean pooling over consecutive patches leaves
    `frame_tokens` rows of a frame, and two matrices with a GELU between them bring these to the decoder's width. Not
    modelled: biases, and the addition of position embeddings, which counts as part of the patch embedding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Extent = Field(description="encoder layers")
    hidden: Extent = Field(description="width of the encoder's residual stream")
    ffn: Extent = Field(description="width of the feed-forward network, between up and down")
    heads: Extent = Field(description="attention heads; each is hidden / heads wide")
    image: Extent = Field(description="side of the square frame that the encoder takes, in pixels")
    patch: Extent = Field(description="side of a square patch, in pixels")
    frame_tokens: Extent = Field(description="rows of a frame that the decoder reads, after pooling")
    connector: Extent = Field(description="width between the two matrices of the connector")
    norm_eps: float = Field(gt=0, strict=True, description="added to the variance under the root of a layer norm")

    @model_validator(mode="after")
    def _consistent(self) -> Vision:
        problems = []
        if self.hidden % self.heads:
            problems.append(("hidden", f"expected a multiple of heads ({self.heads}), got {self.hidden}"))
        if self.image % self.patch:
            problems.append(("image", f"expected a multiple of patch ({self.patch}), got {self.image}"))
        elif self.frame_tokens > self.patches:  # only whole patches can be counted
            limit = f"expected at most the patches of a frame ({self.patches})"
            problems.append(("frame_tokens", f"{limit}, got {self.frame_tokens}"))
        if problems:
            raise PathProblems(problems)
        return self

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        return (self.image // self.patch) ** 2

    @property
    def patch_inputs(self) -> int:
        """Values of a patch: every channel of every pixel."""
        return CHANNELS * self.patch * self.patch

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The matrices of a layer in order of use: name -> (outputs n, inputs k)."""
        square = (self.hidden, self.hidden)
        return {
            "q": square, "k": square, "v": square, "o": square,
            "up": (self.ffn, self.hidden), "down": (self.hidden, self.ffn),
        }  # fmt: skip

    def outer_linears(self, outputs: int) -> dict[str, tuple[int, int]]:
        """The matrices outside the layers, for a decoder of width `outputs`: name -> (outputs n, inputs k)."""
        return {
            "patch_embedding": (self.hidden, self.patch_inputs),
            "connect_in": (self.connector, self.hidden),
            "connect_out": (outputs, self.connector),
        }
