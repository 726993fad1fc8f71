2 map toy toy_llm --phase decode --context 3
