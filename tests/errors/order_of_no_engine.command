2 simulate toy toy_llm --phase prefill --prompt 4 --option attention_order=plain
