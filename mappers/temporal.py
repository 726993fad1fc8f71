"""The temporal mapper: ops one after another on shared engines, weights loaded before or ahead."""

from __future__ import annotations

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import TableLookup
from dataflow.graph import Graph
from dataflow.schedule import Schedule
from mappers import op_by_op
from mappers.build.section_builder import Buffering
from mappers.table_lookup import mapper as table_lookup
from mappers.table_lookup.shapes import AttentionOrder


def temporal(
    graph: Graph,
    design: Design,
    *,
    weight_buffering: Buffering = "single",
    attention_order: AttentionOrder = "reversed",
) -> Schedule:
    """The schedule of ops one after another on the design's engines.

    `weight_buffering` is "single" (a matrix is loaded before its linear) or "double" (while the linear before runs).
    `attention_order` of a prefill is "reversed" (newest query group first, masked keys skipped) or "plain" (every key).
    A design with a table-lookup engine runs fused linears; any other runs each op on the first unit by name that does
    its kind.

    Raises MappingError with the resource, the demand, the capacity and the ways out.
    """
    # Depths that no stream would use are refused, not ignored.
    if design.fifos:
        raise MappingError("fifos: this mapper joins units by the design's links", ways_out=("links with a depth",))
    if design.of_kind(TableLookup):
        return table_lookup.lower_table_lookup(
            graph, design, weight_buffering=weight_buffering, attention_order=attention_order
        )
    # "reversed" is the default, so only another value shows that the user asked for an order.
    if attention_order != "reversed":
        raise MappingError(
            f"attention_order={attention_order}: '{design.name}' has no attention engine with an order",
            ways_out=("leave the option out", "a design with a table_lookup and a prefill_attention unit"),
        )
    return op_by_op.lower_op_by_op(graph, design, weight_buffering=weight_buffering)


def at_context(schedule: Schedule, graph: Graph, design: Design) -> Schedule:
    """The schedule of this decode step, made from the schedule of another step with the same options.

    Equal to that of `temporal`; sections and tasks that do not change are the same objects.
    """
    if design.of_kind(TableLookup):
        return table_lookup.at_context(schedule, graph, design)
    return op_by_op.at_context(schedule, graph)
