"""Explains why a section cannot go on, and finds the depths with which it would."""
