2 simulate vrex8 videollm_online_8b --phase frame --context 1010 --option prediction=next
