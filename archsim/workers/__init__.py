"""Processes of this machine that work side by side. Knows tasks and answers, not what they are."""
