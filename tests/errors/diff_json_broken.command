2 diff toy runs/broken.json
