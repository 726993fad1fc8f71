2 simulate streaming_machine toy_llm --phase attention --prompt 8 --context 4
