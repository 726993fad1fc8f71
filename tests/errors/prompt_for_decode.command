2 simulate toy toy_llm --phase decode --prompt 8
