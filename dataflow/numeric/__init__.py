"""A graph evaluated on arrays, and a schedule replayed on arrays. Imports the kernels, so it is loaded on request."""
