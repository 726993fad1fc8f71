"""The names of the engines, for those who ask without running one: the command line's help starts at once."""

ENGINES = ("compiled", "simpy")  # take every section
OWN_UNITS = ("recurrence",)  # take those in which every task has a unit of its own
NAMES = ("auto", *ENGINES, *OWN_UNITS)
