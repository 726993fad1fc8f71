2 simulate tellme_kv260 bitnet_b158_large --phase decode --context 3 --set mapping.ops.q.tile.m=1
