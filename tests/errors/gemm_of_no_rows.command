2 simulate systolic_array gemm:0x1x1
