3 simulate vrex8 videollm_online_8b --phase frame --context 1010 --set 'units.buffer.capacity=1 B'
