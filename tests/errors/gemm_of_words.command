2 simulate systolic_array gemm:axbxc
