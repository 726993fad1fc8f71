2 simulate toy_retrieval toy_video --phase frame --context 12 --selection resv --set selection.recording=recording_of_6_heads.npz
