3 simulate tellme_kv260 bitnet_b158_large --phase generate --prompt 512 --tokens 514
