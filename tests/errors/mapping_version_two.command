2 check mappings/version_two.yaml
