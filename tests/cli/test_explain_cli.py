"""archsim explain: what it prints of models, graphs, many steps and users' own code; what it refuses."""

import json
from pathlib import Path

import pytest

from archsim.cli import DONE, WRONG, main
from mappers.extend import restore, snapshot

OWN = Path(__file__).parent.parent / "extensions"
DECODE = ["explain", "toy", "toy_llm", "--phase", "decode", "--context", "8"]


def test_text_and_json_of_a_phase(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(DECODE) == DONE
    text = capsys.readouterr().out
    assert main([*DECODE, "--json", "--jobs", "2"]) == DONE
    data = json.loads(capsys.readouterr().out)
    assert data["effects"][0]["path"] == "clock"
    assert "+100.0%  clock" in text
    for head in ("binding", "critical path", "what each unit spends its time on", "roofline of ops"):
        assert head in text


@pytest.mark.parametrize(
    "words",
    [
        ["explain", "systolic_array", "gemm:64x64x64"],
        ["explain", "toy", "toy_llm", "--phase", "generate", "--prompt", "4", "--tokens", "3"],
        ["explain", "toy_retrieval", "toy_video", "--phase", "frame", "--context", "24", "--selection", "topk"],
        [*DECODE, "--set", "units.mm.macs_per_cycle=4", "--set", "mapping.buffers=2"],
    ],
)
def test_whatever_can_be_simulated_can_be_explained(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == DONE
    assert "faster by" in capsys.readouterr().out


def test_a_number_that_was_set_is_of_the_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DECODE, "--set", "units.ddr.bandwidth=0.001 MB/s"]) == DONE
    assert "set by this variant: units.ddr.bandwidth, which doubled brings" in capsys.readouterr().out


def test_kinds_and_phases_of_a_user_are_explained_by_processes(capsys: pytest.CaptureFixture[str]) -> None:
    saved = snapshot()
    try:
        words = ["explain", "toy", "toy_llm", "--phase", "verify", "--drafts", "2", "--context", "8", "--jobs", "2"]
        assert main([*words, "--with", str(OWN / "phase.py")]) == DONE
    finally:
        restore(saved)
    assert "+100.0%  clock" in capsys.readouterr().out


def test_mistakes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DECODE, "--jobs", "0"]) == WRONG
    assert "jobs: expected a whole number of processes from 1 on, got 0" in capsys.readouterr().err
    assert main(["explain", "toy", "toy_llm", "--phase", "decode", "--context", "100"]) == WRONG
    assert "takes 1 to 64 tokens, got 100" in capsys.readouterr().err
