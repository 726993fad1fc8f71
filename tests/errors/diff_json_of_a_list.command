2 diff runs/list.json toy
