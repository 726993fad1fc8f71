"""What every mapper builds with: tasks and streams joined into a section, and the layers that repeat."""

from mappers.build.layers import layers_of
from mappers.build.pieces import chunks
from mappers.build.section_builder import SectionBuilder

__all__ = ["SectionBuilder", "chunks", "layers_of"]
