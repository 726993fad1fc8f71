2 simulate toy toy_llm --phase decode --context 5 --trace trace.json --trace-window '1 parsec..3'
