"""A design with other names for its units, and with the keys of its YAML in another order; nothing else differs."""

import random
from typing import Any

import yaml

from archsim import Design
from archsim.files.document import read_text


def renamed(design: Design, *, seed: int) -> tuple[Design, dict[str, str]]:
    """The design with drawn names of units and shuffled keys, and the new name of each unit."""
    rng, data = random.Random(seed), design.document.data
    letters = rng.sample([f"{a}{b}" for a in "abcdefghijklmnopqrstuvwxyz" for b in "0123456789"], len(data["units"]))
    names = dict(zip(data["units"], letters, strict=True))
    text = yaml.safe_dump(_shuffled(_named(data, names), rng), sort_keys=False)
    return Design.read(read_text(text, path="renamed.yaml")), names


def _named(data: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    def path(written: str) -> str:
        steps = written.split(".")
        at = {"units": 1, "paths": 1, "resources": 2}.get(steps[0], len(steps))
        return ".".join(names.get(step, step) if i == at else step for i, step in enumerate(steps))

    def every(value: Any) -> Any:
        if isinstance(value, dict):
            return {names.get(key, key): every(inside) for key, inside in value.items()}
        return [every(one) for one in value] if isinstance(value, list) else names.get(value, value)

    found = dict(data)
    for key in ("links", "tiers", "paths", "home", "place"):
        if key in data:
            found[key] = every(data[key])
    found["units"] = {names[name]: unit for name, unit in data["units"].items()}
    for key in ("assumed", "fitted"):
        found[key] = {path(written): why for written, why in data.get(key, {}).items()}
    if "resources" in data:
        found["resources"] = {**data["resources"], "used": every(data["resources"]["used"])}
    if "built" in data:
        built = data["built"]
        units = {names[name]: parameters for name, parameters in built["units"].items()}
        found["built"] = {**built, "units": units, "links": every(built.get("links", {}))}
    if "silicon" in data:
        found["silicon"] = {**data["silicon"], "units": every(data["silicon"].get("units", []))}
    return found


def _shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, list):
        return [_shuffled(one, rng) for one in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    rng.shuffle(keys)
    return {key: _shuffled(value[key], rng) for key in keys}
