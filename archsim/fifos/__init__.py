"""Minimal FIFO depths: their search, their proof by a run with one place less, and the FPGA memory that they take."""
