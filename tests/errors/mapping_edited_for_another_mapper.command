2 simulate toy toy_llm --phase decode --context 3 --set mapping.ops.q.tile.m=1
