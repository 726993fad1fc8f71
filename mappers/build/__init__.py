"""What every mapper builds with: tasks and streams joined into a section, ops that move, and layers that repeat."""

from mappers.build.layers import layers_of
from mappers.build.op_builder import OpBuilder
from mappers.build.pieces import chunks
from mappers.build.section_builder import SectionBuilder

__all__ = ["OpBuilder", "SectionBuilder", "chunks", "layers_of"]
