3 simulate systolic_two_level llama3_8b --phase prefill --prompt 8 --mapping mappings/fused_without_shared_extent.yaml
