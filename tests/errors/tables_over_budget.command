2 simulate tellme_kv260 bitnet_b158_large --phase decode --context 8 --set units.tlmm.num_tables=10000
