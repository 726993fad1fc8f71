"""What is to be computed, and the contract between mapper and engine. No hardware, no cycles, no files.

`dataflow.numeric` (a graph evaluated and a schedule replayed on arrays) is imported on request: its kernels load numba.
"""

# One of the packages of archsim.

from dataflow import kinds  # fills OP_KINDS
from dataflow.cascade import CASCADES, Cascade, Expression, passes
from dataflow.errors import GraphError, InputError, ScheduleError
from dataflow.format import FORMATS, Format, beat_layout
from dataflow.graph import Graph, Op, Tensor
from dataflow.mask import Mask
from dataflow.models.attention import LayerAttention, attention
from dataflow.models.model import Model
from dataflow.models.phases import (
    PHASES,
    Decode,
    Frame,
    Generate,
    Prefill,
    Question,
    decode,
    frame,
    next_step,
    phase_named,
    prefill,
    question,
)
from dataflow.models.products import gemm
from dataflow.models.vision import Vision
from dataflow.op import OP_KINDS, Box, Operands, OpKind, Work, computes, work
from dataflow.order import Order, Repeat
from dataflow.pattern import Pattern, every, repeating, sequence, total
from dataflow.phase import Phase, asks
from dataflow.role import Role
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from dataflow.task import UNLIMITED, Served, Stream, Task

__all__ = [
    "CASCADES", "FORMATS", "OP_KINDS", "PHASES", "UNLIMITED", "Box", "Cascade", "Decode", "Expression", "Format",
    "Frame", "Generate", "Graph", "GraphError", "InputError", "LayerAttention", "Mask", "Model", "Op", "OpKind",
    "Operands", "Order", "Pattern", "Phase", "Prefill", "Question", "Repeat", "Role", "Schedule", "ScheduleError",
    "Section", "Served", "Skipped", "Stream", "Task", "Tensor", "Vision", "Work", "asks", "attention", "beat_layout",
    "computes", "decode", "every", "frame", "gemm", "kinds", "next_step", "passes", "phase_named", "prefill",
    "question", "repeating", "sequence", "total", "work",
]  # fmt: skip
