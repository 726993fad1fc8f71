2 check nowhere.yaml
