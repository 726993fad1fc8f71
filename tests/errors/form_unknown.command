2 simulate streaming_machine toy_llm --phase attention --prompt 4 --context 4 --option form=flash
