2 simulate toy toy_llm --phase training --context 8
