2 simulate systolic_two_level gemm:512x512x512 --mapping mappings/of_wrong_kinds.yaml
