3 simulate systolic_two_level gemm:4096x4096x4096 --mapping gemm_4096 --set mapping.ops.gemm.tile.m=1 --set mapping.ops.gemm.tile.n=1
