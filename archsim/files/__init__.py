"""YAML files: read with their lines, validated, edited, and the sources of their numbers."""
