2 simulate toy toy_llm --phase decode --context 3 --html -
