"""Selection: which of the cached keys a step attends to, read from YAML; shipped selections are found by name.

Knows the rule by its name and options, and where each number is from. Does not know what the rule does: kernels do.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticKnownError

from archsim.files.provenance import FROZEN, Fitted, Sourced
from archsim.files.shipped import found
from dataflow.errors import PathProblems, quoted
from dataflow.name import Name
from kernels.selection import ALGORITHMS

Use = Literal["frame", "question", "text"]


def _named(value: Any) -> Any:
    if not isinstance(value, str) or value not in ALGORITHMS:
        *names, last = map(repr, ALGORITHMS)
        raise PydanticKnownError("literal_error", {"expected": f"{', '.join(names)} or {last}"})
    return value


def _list_names(schema: dict[str, Any]) -> None:
    schema["enum"] = list(ALGORITHMS)


def _setting(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"expected a number, text, true, false or nothing, got {quoted(value)}")
    return value


# No Literal, because the table grows where a user adds a rule.
Algorithm = Annotated[str, BeforeValidator(_named), Field(json_schema_extra=_list_names)]
# Any, checked above, so that pydantic turns no setting into another type; a schema is then to be given by hand.
Setting = Annotated[Any, BeforeValidator(_setting), WithJsonSchema({"type": ["number", "string", "boolean", "null"]})]
# Strict: a text such as "0.3" is no number.
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
KeptShare = Annotated[float, Field(gt=0, le=1, strict=True)]
Whole = Annotated[int, Field(ge=0, strict=True)]


class StreamOptions(BaseModel):
    """How the stream of keys that the rule runs on is drawn; see kernels.selection.streams.video_stream."""

    model_config = FROZEN

    seed: Whole = Field(0, description="the same seed gives the same stream")
    temporal: Share = Field(0.96, description="correlation of a key with that of the same place one frame before")
    spatial: Share = Field(0.2, description="correlation of a key with that of the place before in its frame")
    agreement: Share = Field(0.99, description="correlation of one channel between two heads")
    focus: Share = Field(0.2, description="correlation of a query with the key of its own token")
    sharpness: float = Field(2.0, ge=0, le=1000, strict=True, description="standard deviation of a query's channels")
    common: Share = Field(
        0.004, description="correlation of any two keys, or of a key with a query's noise, in addition to the above"
    )
    needles: Whole = Field(0, description="number of tokens that resemble no other, at random places")


class Selection(Sourced):
    """A rule that chooses among cached keys, or the shares that it is published to keep.

    Frozen. A variant is `selection.with_({"settings.ratio": 0.4})`, which edits the written form and reads it again.
    """

    rows: ClassVar = ("settings", "setting", ())

    name: Name = Field(description="the name that reports print")
    source: str = Field(description="source of the rule and of every setting that is neither assumed nor fitted")
    algorithm: Algorithm = Field(description="the rule, a name of kernels.selection.ALGORITHMS")
    settings: dict[str, Setting] = Field(
        default_factory=dict,
        description="option of the rule -> number, text, true, false or nothing; the rest are its own",
    )
    kept: dict[Use, KeptShare] | None = Field(
        None, description="use (frame, question, text) -> share of the cached keys that a step keeps, as published, "
        "instead of what the rule keeps on the stream",
    )  # fmt: skip
    resident: Share = Field(
        1.0, description="newest share of each sequence's cache that stays in the accelerator's own memory"
    )
    stream: StreamOptions = Field(
        default_factory=StreamOptions.model_construct,
        description="the stream of keys that is drawn where none is recorded",
    )
    recording: str | None = Field(
        None, description="path, from the current folder, of a stream that save_stream wrote, instead of a drawn one"
    )
    recorded_selection: str | None = Field(
        None, description="path, from the current folder, of choices that save_selection wrote, replayed"
    )
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")
    fitted: dict[str, Fitted] = Field(default_factory=dict, description="dotted path -> the point it was fitted to")

    @model_validator(mode="after")
    def _decided_once(self) -> Selection:
        if self.kept is not None and self.recorded_selection is not None:
            raise PathProblems([("kept", "shares stand beside a recorded_selection; give one of the two")])
        return self

    @property
    def seed(self) -> int:
        """The seed of the stream of keys."""
        return self.stream.seed

    @property
    def files(self) -> dict[str, str]:
        """The recordings that it names."""
        named = {"recording": self.recording, "recorded_selection": self.recorded_selection}
        return {key: path for key, path in named.items() if path is not None}

    def __str__(self) -> str:
        """The name, and the paths that a variant changed with their values."""
        values = ", ".join(f"{path}={value}" for path, value in self.changed().items())
        return f"{self.name} ({values})" if values else self.name

    def __repr__(self) -> str:
        return f"<Selection {self}: {self.algorithm}>"


def load_selection(name: str) -> Selection:
    """The selection of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return Selection.read(found(name, "selections", "selection"))
