2 simulate toy_retrieval toy_video --phase frame --context 12 --selection duo_attention --set selection.recording=nothing.npz
