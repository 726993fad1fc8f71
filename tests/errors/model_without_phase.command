2 simulate toy toy_llm --context 3
