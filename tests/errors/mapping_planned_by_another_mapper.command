2 map toy_retrieval toy_video --phase decode --context 3
