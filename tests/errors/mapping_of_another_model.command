3 simulate systolic_two_level ../data/alexnet.csv --mapping mappings/by_hand.yaml
