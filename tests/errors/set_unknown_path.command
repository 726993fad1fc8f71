2 simulate toy toy_llm --phase decode --context 3 --set units.mm.macs=2 --set units.nn.count=2
