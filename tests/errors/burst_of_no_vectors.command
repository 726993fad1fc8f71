3 simulate tellme_kv260 bitnet_b158_large --phase decode --context 8 --set 'units.loader.port_bits=100 bit'
