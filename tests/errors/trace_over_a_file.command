2 simulate toy toy_llm --phase decode --context 5 --trace anchor.yaml
