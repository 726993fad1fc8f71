2 simulate toy toy_llm --phase decod --context 8
