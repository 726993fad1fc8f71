"""Networks: their dimensions, the ops of their layers, and the graph of each phase.

A phase of one's own builds its graph with these functions.
"""

from dataflow.errors import refuse
from dataflow.models.decoder import add_attention, add_decoder, add_embedding
from dataflow.models.model import token_problems

__all__ = ["add_attention", "add_decoder", "add_embedding", "refuse", "token_problems"]
