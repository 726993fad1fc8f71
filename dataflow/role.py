"""Role: what a tensor is to memory, and what follows from that."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property

from dataflow.errors import GraphError, guess, quoted


class Role(StrEnum):
    """What a tensor is to memory. The last three are roles of traffic alone."""

    WEIGHT = "weight"  # a matrix of a layer
    EXPERT = "expert"  # the matrices of all experts, of which a token reads those that it is routed to
    EMBEDDING = "embedding"  # a table that is looked up by row
    LM_HEAD = "lm_head"
    NORM = "norm"  # the scales of a norm
    CACHE = "cache"  # keys and values of past tokens
    STATE = "state"  # what a recurrent layer carries from one token to the next
    ACTIVATION = "activation"
    INPUT = "input"  # ids and pixels
    METADATA = "metadata"  # what a selection reads beside keys and values
    FETCHED = "fetched"  # cached keys and values on their way from the tier beyond
    EVICTED = "evicted"  # and on their way there

    @cached_property
    def learned(self) -> bool:
        """True for the weights of a model, which no step changes."""
        return self in (Role.WEIGHT, Role.EXPERT, Role.EMBEDDING, Role.LM_HEAD, Role.NORM)

    @cached_property
    def stored(self) -> bool:
        """True where it lies in memory from one step to the next."""
        return self.learned or self in (Role.CACHE, Role.STATE)

    @cached_property
    def gathered(self) -> bool:
        """True where only the rows asked for are read."""
        return self in (Role.EMBEDDING, Role.EXPERT)

    @cached_property
    def grows(self) -> bool:
        """True where each step adds to it."""
        return self is Role.CACHE

    @cached_property
    def multiplied(self) -> bool:
        """True for the operands of products: what a mapping has to read from memory, however it is made.

        Not the scales of norms, which an accelerator may hold beside the unit that reads them.
        """
        return self.stored and not self.gathered and self is not Role.NORM


TRAFFIC = (Role.METADATA, Role.FETCHED, Role.EVICTED)  # no tensor of a graph has them
LEARNED = tuple(role for role in Role if role.learned)
STORED = tuple(role for role in Role if role.stored)


def tensor_role(name: str, where: str) -> Role:
    """The role of this name. Raises GraphError at `where` for a name that no tensor's role has."""
    known = {role.value: role for role in Role if role not in TRAFFIC}
    if not isinstance(name, str) or name not in known:
        hint = guess(name if isinstance(name, str) else "", known, otherwise="roles are")
        raise GraphError(f"{where}: unknown role {quoted(name)}; {hint}")
    return known[name]
