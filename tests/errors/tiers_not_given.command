3 simulate toy toy_llm --phase decode --context 4 --mapper retrieval
