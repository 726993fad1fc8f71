3 simulate vrex8 videollm_online_8b --phase attention --prompt 2 --context 8 --selection flexgen
