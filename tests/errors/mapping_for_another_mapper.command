2 simulate toy toy_llm --phase decode --context 3 --mapping mappings/by_hand.yaml
