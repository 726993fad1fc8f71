4 explain streaming_machine toy_llm --phase attention --prompt 4 --context 16 --mask full --option form=naive --option heads=sequential --set fifos.long=15
