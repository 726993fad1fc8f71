"""`python -m archsim`: the command line."""

from archsim.cli import entry

if __name__ == "__main__":
    entry()
