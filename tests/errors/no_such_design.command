2 simulate telme_kv260 bitnet_b158_large --phase decode --context 8
