3 simulate tellme_kv260 bitnet_b158_large --phase decode --context 8 --set 'units.weight_buffer.word_bits=72 bit'
