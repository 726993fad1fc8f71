2 simulate toy toy_llm --phase decode --context 3 --option mapper=x --option graph=1 --option design=toy
