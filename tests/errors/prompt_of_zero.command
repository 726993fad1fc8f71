2 simulate streaming_machine toy_llm --phase attention --prompt 0 --context 4
