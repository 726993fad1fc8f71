"""What a shell offers at Tab, by typer's completion. Names alone: no file is read and nothing is loaded to list them.

Where nothing fits what is typed, the shell offers files, so that paths are completed too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

Offer = Callable[[str], list[str]]


def fitting(known: Callable[[], Iterable[str]]) -> Offer:
    """Offers the names that begin with what is typed. `known` is called at Tab alone."""

    def offer(incomplete: str) -> list[str]:
        return [name for name in known() if name.startswith(incomplete)]

    return offer


def shipped_names(*folders: str) -> Offer:
    """Offers shipped files of these sub-folders: "" has the designs."""
    return fitting(lambda: dict.fromkeys(name for folder in folders for name in _names(folder)))


def _names(folder: str) -> list[str]:
    from archsim.files.data_folder import shipped

    return list(shipped(folder))


def runs_and_designs() -> Offer:
    """Offers shipped designs, and folders and JSON files that lie here."""

    def known() -> list[str]:
        from archsim.files.folder import MANIFEST

        here: list[str] = []
        with suppress(OSError):  # of a folder that is gone or that nobody may read
            names = sorted(os.listdir())
            here = [name for name in names if name.endswith(".json") or os.path.isfile(Path(name, MANIFEST))]
        return [*_names(""), *here]

    return fitting(known)


def _mappers() -> Iterable[str]:
    from mappers.registry import MAPPERS

    return MAPPERS


def _lists() -> Iterable[str]:
    from archsim.check import LISTS

    return LISTS


def _schemas() -> Iterable[str]:
    from archsim.schema import places

    return places()


mappers, lists, schemas = fitting(_mappers), fitting(_lists), fitting(_schemas)
