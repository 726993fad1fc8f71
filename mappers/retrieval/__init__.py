"""Layers whose attention reads the cached keys and values that a selection keeps, over tiers of memory."""
