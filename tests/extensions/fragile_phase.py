"""A phase whose points write down that they begin, and one of which ends its process: for tests of sweeps."""

import os
from dataclasses import dataclass
from typing import ClassVar

import dataflow
import mappers


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragile(dataflow.Phase):
    """A decode step that writes its context to the file named by FRAGILE_LOG, and dies at that of FRAGILE_AT."""

    name: ClassVar[str] = "fragile"
    context: int = dataflow.asks("keys that the token attends to")
    nth: int = dataflow.asks("tells points of one context apart, so that each builds a graph of its own", default=0)

    def graph(self, model):
        with open(os.environ["FRAGILE_LOG"], "a") as log:
            log.write(f"{self.context}\n")
        if os.environ.get("FRAGILE_AT") == str(self.context):
            os.kill(os.getpid(), 9)
        return dataflow.decode(model, context=self.context, batch=self.batch)


mappers.extend(phases=[Fragile])
