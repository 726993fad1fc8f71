3 simulate systolic_two_level llama3_8b --phase prefill --prompt 8 --mapping mappings/of_some_layers.yaml
