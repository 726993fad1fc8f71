2 simulate systolic_array gemm:128x128
