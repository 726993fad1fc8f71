3 simulate systolic_two_level gemm:512x512x512 --mapping mappings/by_hand.yaml --set mapping.ops.gemm.tile.m=512 --set mapping.ops.gemm.tile.n=512
