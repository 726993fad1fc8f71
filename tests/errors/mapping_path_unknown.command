3 simulate systolic_two_level gemm:512x512x512 --set mapping.ops.gem.tile.m=64
