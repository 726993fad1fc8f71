"""What every mapper builds with: tasks and streams joined into a section, and the layers that repeat."""
