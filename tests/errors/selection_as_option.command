2 simulate vrex8 videollm_online_8b --phase frame --context 1010 --option selection=quest --selection full
