3 simulate tellme_kv260 toy_llm --phase decode --context 8
