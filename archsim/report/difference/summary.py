"""Summary: of a report's JSON what is compared with another one's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from archsim.errors import DesignError
from archsim.files.document import Document
from archsim.files.provenance import SET
from archsim.files.validate import validate

# Far above any run: what is larger cannot be drawn as a ratio.
Whole = Annotated[int, Field(ge=0, le=10**30)]
Amount = Annotated[float, Field(ge=0, le=1e30)]
PRINT = "name a file that `archsim simulate ... --json` printed, or print it again"


class Read(BaseModel):
    """What is read of JSON that archsim wrote; other keys are let be."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class UnitShare(Read):
    """The share of its time that a unit is busy."""

    utilization: Amount


class MemoryBytes(Read):
    """What a memory reads and writes."""

    read_bytes: Whole
    written_bytes: Whole


class ChannelBytes(Read):
    """What a channel moves."""

    moved_bytes: Whole


class Used(Read):
    """What of a resource of the FPGA is used; None where that is not known."""

    used: Amount | None


class Selected(Read):
    """What a selection keeps, finds near, and costs in quality."""

    kept: Amount
    hit_rate: Amount | None
    mass_recall: Amount | None
    output_error: Amount | None


class Summary(Read):
    """The inputs and figures of a run, under the keys of `simulate --json`."""

    design: str
    model: str
    phase: str
    fields: dict[str, Any]
    mapper: str
    options: dict[str, Any]
    engine: str
    version: str
    assumed: dict[str, str]
    asked: dict[str, Any] | None = None
    clock_hz: Amount = Field(gt=0)
    cycles: Whole = Field(gt=0)
    seconds: Amount = Field(gt=0)
    ttft_seconds: Amount | None
    tpot_seconds: Amount | None
    tokens_per_second: Amount | None
    decode_tokens_per_second: Amount | None
    frames_per_second: Amount | None
    energy_joules: Amount | None
    power_watts: Amount | None
    tokens_per_joule: Amount | None
    area_mm2: Amount | None
    resources: dict[str, Used]
    lower_bound_cycles: Whole
    roofline_cycles: Whole | None
    roofline_of: str | None
    bottleneck: str
    parts: dict[str, Amount]
    units: dict[str, UnitShare]
    memories: dict[str, MemoryBytes]
    channels: dict[str, ChannelBytes]
    selected: Selected | None

    @property
    def has_steps(self) -> bool:
        """True of a phase with a prefill and decode steps, whose times are told apart."""
        return self.ttft_seconds is not None and self.tpot_seconds is not None

    def title(self) -> str:
        """The heading of its report."""
        fields = sorted(self.fields.items(), key=lambda field: field[0] == "batch")  # the batch last
        asked = [f"{name} {value}" for name, value in fields if value]
        return " · ".join([self.design, self.model, self.phase, *asked])

    def inputs(self, asked: Mapping[str, Any] | None) -> dict[str, Any]:
        """What went in, as far as a report says it: of the design its name, and what a variant of it sets.

        `asked` is what the command line asked for, where that is known.
        """
        told = self.options
        files = {name: told[name] for name in ("selection", "mapping") if told.get(name) is not None}
        # A mapping of the design's own is named after both, which differ in their own lines.
        own = f"{self.model} on {self.design}"
        if str(files.get("mapping", "")).startswith(own):
            files["mapping"] = f"the design's own{files['mapping'].removeprefix(own)}"
        return {
            "design": self.design, "set": self._set((asked or {}).get("set")), "model": self.model,
            "phase": self.phase, "fields": self.fields, "mapper": self.mapper,
            "options": {name: told[name] for name in told if name not in files}, **files, "engine": self.engine,
            "versions": {"archsim": self.version},
        }  # fmt: skip

    def _set(self, said: Any) -> dict[str, Any]:
        """The values that a variant of the design sets, by path; where only the paths are known, without them."""
        known = {path: SET for path, why in self.assumed.items() if why == SET}
        return {path: said[path] if isinstance(said, dict) and path in said else why for path, why in known.items()}


def summary_of(data: dict[str, Any], *, path: str) -> Summary:
    """The summary that this data of a report has. Raises DesignError with every problem."""
    lacking = [name for name, field in Summary.model_fields.items() if field.is_required() and name not in data]
    if lacking:
        told = ", ".join(map(repr, lacking[:3])) + (" and others" if len(lacking) > 3 else "")
        raise DesignError(f"{path}: is no report of this archsim: it lacks {told}; {PRINT}")
    return validate(Document(path, data), Summary)
