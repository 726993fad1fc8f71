"""Name: what reports print of a design, a model or a selection."""

from typing import Annotated

from pydantic import AfterValidator

from dataflow.errors import quoted

LONGEST_NAME = 200  # characters; far above any name of ours, and still a line or two of a report


def _one_line(text: str) -> str:
    if not (text.isprintable() and text.strip() == text and 0 < len(text) <= LONGEST_NAME):
        raise ValueError(f"expected a name of 1 to {LONGEST_NAME} printable characters, got {quoted(text)}")
    return text


Name = Annotated[str, AfterValidator(_one_line)]
