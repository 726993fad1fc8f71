2 sweep sweep_wrong.yaml
