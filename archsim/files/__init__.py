"""YAML files: read with their lines, validated, edited, and where their numbers are from."""
