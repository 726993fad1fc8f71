"""Ops one after another in tiles that move through memories, by a mapping that is data."""
