"""Minimal FIFO depths: the search, the proof by a run with one place less, and what the places take of an FPGA."""
