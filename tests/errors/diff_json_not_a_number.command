2 diff toy runs/not_a_number.json
