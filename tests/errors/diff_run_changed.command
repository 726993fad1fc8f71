2 diff toy runs/changed
