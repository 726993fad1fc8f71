"""A mapper says which phases it knows, and refuses the others by name, whichever command asks."""

import pytest

import archsim
import mappers
from archsim import MappingError
from archsim.cli import UNFIT, main
from archsim.fifos.sizes import size_fifos
from dataflow import PHASES, phase_named
from mappers import MAPPERS

TELLME = archsim.load_design("tellme_kv260")
ASKED = {
    "question": ("bitnet_b158_large", {"prompt": 8, "context": 64}), "frame": ("videollm_online_8b", {"context": 20}),
    "attention": ("bitnet_b158_large", {"prompt": 3, "context": 5}),
}  # fmt: skip
KNOWN = "mapper 'table_lookup' lowers the phases prefill and decode, not '{}'"


@pytest.mark.parametrize("phase", ASKED)
def test_table_look_up_refuses_other_phases_by_name(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, fields = ASKED[phase]
    graph = phase_named(phase, fields).graph(archsim.load_model(model))
    with pytest.raises(MappingError) as refused:
        mappers.lower(graph, TELLME)
    assert str(refused.value).startswith(KNOWN.format(phase))
    words = [word for name, value in fields.items() for word in (f"--{name}", str(value))]
    for command in ("simulate", "size-fifos"):
        assert main([command, "tellme_kv260", model, "--phase", phase, *words]) == UNFIT
        assert capsys.readouterr().err.splitlines()[-1].startswith(KNOWN.format(phase))


def test_phases_that_are_known_exist() -> None:
    for mapper in MAPPERS.values():
        assert all(PHASES[phase.name] is phase for phase in mapper.phases or ())


def test_fifos_are_sized_for_the_pairs_of_the_phase() -> None:
    """A decode step at 64 keys scores 64 pairs a head; the search runs the schedule whose work the graph asks."""
    graph = phase_named("decode", {"context": 64}).graph(archsim.load_model("bitnet_b158_large"))
    schedule = mappers.lower(graph, TELLME)
    sizes = size_fifos(schedule, TELLME)
    assert archsim.simulate(sizes.schedule, TELLME).cycles == sizes.cycles
