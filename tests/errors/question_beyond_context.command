2 simulate vrex8 videollm_online_8b --phase question --context 100 --prompt 101
