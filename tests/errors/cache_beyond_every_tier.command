3 simulate vrex8 videollm_online_8b --phase frame --context 40000 --selection flexgen --set 'units.ssd.capacity=1 GB'
