2 diff toy runs/wrong_values.json
