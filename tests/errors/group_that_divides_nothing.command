3 simulate tellme_kv260 bitnet_b158_large --phase decode --context 8 --set units.tlmm.group_size=5 --set resources.budget.lut=1000000
