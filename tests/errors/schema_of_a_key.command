2 schema energy.cycle
