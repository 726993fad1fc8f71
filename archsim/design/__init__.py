"""Designs: units and links on one clock, resources, silicon and tiers of memory."""
