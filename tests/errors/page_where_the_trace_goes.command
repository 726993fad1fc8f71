2 simulate toy toy_llm --phase decode --context 3 --trace one.json --html one.json
