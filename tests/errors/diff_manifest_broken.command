2 diff toy runs/broken_manifest
