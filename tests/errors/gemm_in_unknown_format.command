2 simulate systolic_array gemm:8x8x8:int9
