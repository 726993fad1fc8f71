2 simulate vrex8 llama3_8b --phase frame --context 1010
