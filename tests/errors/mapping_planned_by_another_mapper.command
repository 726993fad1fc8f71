2 map tellme_kv260 bitnet_b158_large --phase decode --context 3
