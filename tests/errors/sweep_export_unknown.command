2 sweep sweep_wrong.yaml --export xlsx
