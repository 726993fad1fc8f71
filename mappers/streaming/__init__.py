"""Attention laid out in space: a node for each expression of the algorithm, joined by FIFOs."""
