3 explain toy toy_llm --phase decode --context 3 --set 'units.ddr.capacity=1 B'
