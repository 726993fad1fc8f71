2 sweep no_such_sweep.yaml
