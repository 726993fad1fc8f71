3 simulate tellme_kv260 bitnet_b158_large --phase generate --prompt 1025 --tokens 1000
