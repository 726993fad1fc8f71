2 simulate toy_retrieval toy_video --phase frame --context 12 --selection resv --set selection.recorded_selection=selection_of_8_tokens.npz
