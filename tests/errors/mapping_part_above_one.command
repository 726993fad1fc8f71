2 check mappings/part_above_one.yaml
