2 simulate toy_retrieval toy_video --phase decode --context 3 --set mapping.ops.q.tile.m=1
