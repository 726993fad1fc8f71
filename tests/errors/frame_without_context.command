2 simulate vrex8 videollm_online_8b --phase frame
