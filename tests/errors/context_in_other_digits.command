2 simulate toy toy_llm --phase decode --context ٣
