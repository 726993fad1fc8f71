3 simulate systolic_two_level ../data/alexnet.csv --set mapping.ops.FC6.tile.k=7000 --set mapping.ops.FC6.tile.n=32
