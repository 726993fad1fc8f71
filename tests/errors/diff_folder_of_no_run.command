2 diff toy runs/no_run
