"""Where the shipped files lie, and their names. Reads none of them."""

from __future__ import annotations

from pathlib import Path

# What a user calls a file -> the folder of the shipped ones.
NOUNS = {
    "design": "", "model": "models", "selection": "selections", "mapping": "mappings", "published": "published",
    "technology": "technologies",
}  # fmt: skip


def data_folder() -> Path:
    """The folder of the shipped YAML files: beside the packages in a checkout, inside archsim when installed."""
    package = Path(__file__).parent.parent
    installed = package / "designs"
    return installed if installed.is_dir() else package.parent / "designs"


def shipped(folder: str = "") -> dict[str, Path]:
    """The shipped files of a sub-folder by name: "" for designs, "models", "selections", "mappings", "published"."""
    return {path.stem: path for path in sorted((data_folder() / folder).glob("*.yaml"))}


def text_to_start_from(path: Path) -> str:
    """The text of a shipped file as it is, but that its first line names the schema here, wherever the text goes."""
    text = path.read_text(encoding="utf-8")
    mark, equals, rest = text.partition("=")
    relative, _, _ = rest.partition("\n")
    return f"{mark}{equals}{(path.parent / relative).resolve().as_uri()}{rest.removeprefix(relative)}"
