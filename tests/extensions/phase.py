"""A phase: the step of speculative decoding that verifies the tokens which a smaller model has drafted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataflow import Graph, GraphError, Model, Phase, asks
from dataflow.models import add_decoder, add_embedding, refuse, token_problems
from mappers import extend


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Phase):
    """`drafts` tokens per sequence at once, with the LM head on each; the last attends to `context` keys."""

    name: ClassVar[str] = "verify"
    done: ClassVar[str] = "{tokens} verified"

    context: int = asks("keys that the last token attends to, its own included")
    drafts: int = asks("drafted tokens that are verified at once")

    def graph(self, model: Model) -> Graph:
        """The graph. Raises GraphError if the drafts are none, or more than the context."""
        refuse(token_problems(model, self.batch, context=self.context, drafts=self.drafts))
        if self.drafts > self.context:
            raise GraphError(f"drafts: the context includes them; expected {self.context} or fewer, got {self.drafts}")
        rows, cached = self.batch * self.drafts, self.batch * (self.context - self.drafts)
        graph = Graph(model.name, self, tokens=rows, weight_bytes=model.weight_bytes)
        x = add_embedding(model, graph, rows=rows)
        return add_decoder(model, graph, x, cached=cached, batch=self.batch, every_row=True)


extend(phases=[Verify])
