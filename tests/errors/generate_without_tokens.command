2 simulate toy toy_llm --phase generate --prompt 8
