2 simulate toy toy_llm --phase decode --context 3 --option weight_buffering=triple
