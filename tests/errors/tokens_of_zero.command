2 simulate toy toy_llm --phase generate --prompt 0 --tokens 0 --batch 0
