"""From a model and a phase to a report, one run or a sweep of many."""
