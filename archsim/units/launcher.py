"""Launcher: what starts a kernel on a fabric."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsim.quantity import CycleFraction
from archsim.units.unit import Unit
from dataflow.op import Work


class Launcher(Unit):
    """Starts kernels, one after another, before any of their tasks begins.

    configure: program_load, after which the tiles and switches do what the kernel needs. enter: argument_load, after
    which they do it for these operands; a kernel that runs again at once needs no more than that.
    Not modelled: a program that is loaded while the kernel before still runs.
    """

    kinds = ("configure", "enter")

    kind: Literal["launcher"]
    program_load: CycleFraction = Field(description="time until the tiles have their configuration")
    argument_load: CycleFraction = Field(description="time until they have their arguments, and begin")

    def _cycles(self, work: Work) -> CycleFraction:
        return self.program_load if work.kind == "configure" else self.argument_load
