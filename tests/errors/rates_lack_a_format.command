3 simulate systolic_array gemm:8x8x8:fp16 --set units.array.rates.int8=2 --set units.array.rates.bf16=1
