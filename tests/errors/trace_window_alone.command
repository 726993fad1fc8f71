2 simulate toy toy_llm --phase decode --context 5 --trace-window 1..3
