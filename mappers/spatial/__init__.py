"""Ops laid out in space: each a stage with tiles of its own, joined by streams, as many in a section as fit."""
