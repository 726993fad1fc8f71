"""Rows of a sweep: what they are, which are best, and how they become text, tables and files."""
