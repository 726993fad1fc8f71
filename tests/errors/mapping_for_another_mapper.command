2 simulate tellme_kv260 bitnet_b158_large --phase decode --context 3 --mapping mappings/by_hand.yaml
