"""Runs a schedule on a design: totals over its sections, the laws that every run must keep, and the lower bound."""
