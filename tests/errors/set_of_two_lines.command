2 simulate toy toy_llm --phase decode --context 3 --set 'clock=1 MHz
name: other'
