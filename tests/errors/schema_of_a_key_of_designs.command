2 schema clock
