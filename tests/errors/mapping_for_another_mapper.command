2 simulate toy_retrieval toy_video --phase decode --context 3 --mapping mappings/by_hand.yaml
