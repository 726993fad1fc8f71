3 simulate streaming_machine toy_llm --phase decode --context 16
