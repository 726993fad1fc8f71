"""A run of every shipped design in every phase that it takes, small enough for many variants."""

from functools import cache

import archsim
from dataflow.models.model import Model

RUNS = {
    "a100": ("llama3_8b", {"decode": {"context": 512}, "prefill": {"prompt": 64}}),
    "agx_orin": ("videollm_online_8b", {"decode": {"context": 512}, "frame": {"context": 300}}),
    "plasticine": ("llama2_7b", {"decode": {"context": 300}, "prefill": {"prompt": 40}}),
    "sn40l": ("llama3_8b", {"decode": {"context": 512}, "prefill": {"prompt": 70}}),
    "sn40l_node": ("llama2_70b", {"decode": {"context": 512}, "prefill": {"prompt": 70}}),
    "streaming_machine": ("toy_llm", {"attention": {"prompt": 8, "context": 8}}),
    "systolic_array": ("qwen2_7b", {"decode": {"context": 300}, "prefill": {"prompt": 40}}),
    "systolic_two_level": ("llama2_7b", {"decode": {"context": 300}, "prefill": {"prompt": 40}}),
    "tellme_kv260": ("bitnet_b158_large", {"decode": {"context": 64}, "prefill": {"prompt": 16}}),
    "toy": ("toy_llm", {"decode": {"context": 16}, "prefill": {"prompt": 8}, "question": {"context": 9, "prompt": 3}}),
    "toy_retrieval": ("toy_video", {"decode": {"context": 24}, "frame": {"context": 24}, "prefill": {"prompt": 16}}),
    "tpu_v4i": ("llama2_7b", {"decode": {"context": 300}, "prefill": {"prompt": 40}}),
    "vrex48": ("videollm_online_8b", {"decode": {"context": 512}, "frame": {"context": 300}}),
    "vrex8": ("videollm_online_8b", {"decode": {"context": 512}, "frame": {"context": 300}, "prefill": {"prompt": 70}}),
}  # fmt: skip
CASES = [(design, phase) for design, (_, phases) in RUNS.items() for phase in phases]


@cache
def network(name: str) -> Model:
    return archsim.load_model(name).model_copy(update={"layers": 2})
