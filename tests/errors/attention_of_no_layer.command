3 simulate tellme_kv260 bitnet_b158_large --phase attention --prompt 4 --context 4
