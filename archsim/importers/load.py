"""A design, and a model or a graph, by what a user types for it: a name, a path, a product, another tool's file."""

from __future__ import annotations

from archsim.design import design as designs
from archsim.design.design import Design
from archsim.files.shipped import load_model
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.models.products import GEMM, gemm_named

CONFIGURATION, TOPOLOGY = ".cfg", ".csv"  # of SCALE-Sim


def load_design(name: str) -> Design:
    """The design with a shipped name, at a path, or in a SCALE-Sim configuration (.cfg).

    Raises DesignError with every problem of the file.
    """
    if not is_configuration(name):
        return designs.load_design(name)
    from archsim.importers.scalesim_design import scalesim_design  # here, because few runs read one

    return scalesim_design(name)


def load_workload(name: str) -> Model | Graph:
    """The model with a shipped name or at a path, or a graph: gemm:MxNxK(:FORMAT), or a SCALE-Sim topology (.csv).

    Raises DesignError and GraphError with every problem of the file.
    """
    if is_topology(name):
        from archsim.importers.scalesim_topology import scalesim_topology

        return scalesim_topology(name)
    return gemm_named(name) if names_graph(name) else load_model(name)


def is_configuration(name: object) -> bool:
    """True for a path of a SCALE-Sim configuration."""
    return isinstance(name, str) and name.lower().endswith(CONFIGURATION)


def is_topology(name: object) -> bool:
    """True for a path of a SCALE-Sim topology."""
    return isinstance(name, str) and name.lower().endswith(TOPOLOGY)


def names_graph(name: object) -> bool:
    """True where the words stand for a graph, which is no model and takes no phase."""
    return is_topology(name) or (isinstance(name, str) and name.startswith(GEMM))
