2 simulate toy toy_llm --phase generate --prompt 60 --tokens 6
