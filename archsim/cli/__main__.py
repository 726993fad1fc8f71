"""`python -m archsim.cli`."""

from archsim.cli import entry

if __name__ == "__main__":
    entry()
