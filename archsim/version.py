"""The version of archsim; pyproject.toml takes it from here."""

__version__ = "0.1.0"
