2 simulate toy toy_llm --phase decode --context 3 --set 'name=x # y'
