2 list chips
