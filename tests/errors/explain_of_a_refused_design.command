2 explain over_budget.yaml toy_llm --phase decode --context 3
