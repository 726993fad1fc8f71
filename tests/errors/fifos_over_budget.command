2 simulate tellme_kv260 bitnet_b158_large --phase decode --context 8 --set links.int8.depth=10000000000000000
