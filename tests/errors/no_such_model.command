2 simulate toy toy_lm --phase decode --context 8
