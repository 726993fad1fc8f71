"""The way out of a deadlock in values of the design, as the user can set them."""

from __future__ import annotations

from archsim.design.depths import as_options, setting_of, settings
from archsim.design.design import Design
from archsim.engine import attempt
from archsim.engine.flat import Flat
from archsim.engine.result import Stuck
from archsim.errors import Deadlock
from dataflow.section import Section


def in_settings(stuck: Deadlock, section: Section, flat: Flat, design: Design, *, engine: str) -> Deadlock:
    """The deadlock with the values of the design that end it, run to see what they bring; itself if there are none."""
    deepened = {} if stuck.way_out is None else stuck.way_out.depths
    found = [(stream, setting_of(design, stream)) for stream in section.streams]
    values = settings(design, {stream: deepened[stream.name] for stream, _ in found if stream.name in deepened})
    if not deepened or any(setting is None for stream, setting in found if stream.name in deepened):
        return stuck
    # A value gives all its streams their depths, also those that are not in the way.
    depths = [
        setting.depth(values[setting.path]) if setting and setting.path in values else stream.depth
        for stream, setting in found
    ]
    result = attempt(flat.with_depths(depths), engine=engine)
    if isinstance(result, Stuck):
        return stuck
    line = f"to set it: {as_options(values)}, and the section takes {result.cycles:,} cycles (verified by running it)"
    return Deadlock(
        f"{stuck}\n{line}", section=stuck.section, cycle=stuck.cycle, wait_cycle=stuck.wait_cycle, others=stuck.others,
        way_out=stuck.way_out, settings=values,
    )  # fmt: skip
