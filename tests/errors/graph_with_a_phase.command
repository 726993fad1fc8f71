2 simulate systolic_array gemm:8x8x8 --phase decode --context 3 --batch 2
