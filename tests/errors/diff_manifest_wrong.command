2 diff runs/wrong_manifest toy
