3 simulate vrex8 llama3_8b --phase prefill --prompt 8000 --set 'home.activation=[buffer]'
