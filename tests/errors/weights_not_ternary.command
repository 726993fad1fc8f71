3 simulate tellme_kv260 llama3_8b --phase decode --context 3
