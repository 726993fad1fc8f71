"""What a model cannot run: more tokens than its context, or an empty batch."""

from __future__ import annotations

from dataflow.errors import GraphError, InputError
from dataflow.models.model import Model


def token_problems(model: Model, batch: int, **asked: int) -> list[str]:
    """What is wrong with these numbers of tokens, and with the batch."""
    problems = [
        f"{what}: model '{model.name}' takes 1 to {model.max_context} tokens, got {tokens}"
        for what, tokens in asked.items()
        if not 1 <= tokens <= model.max_context
    ]
    return problems + ([f"batch: at least one sequence, got {batch}"] if batch < 1 else [])


def refuse(problems: list[str], error: type[InputError] = GraphError) -> None:
    """Raises the error with the problems, if there are any."""
    if problems:
        raise error(problems)
