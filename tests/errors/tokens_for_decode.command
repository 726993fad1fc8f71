2 simulate toy toy_llm --phase decode --context 8 --tokens 8
