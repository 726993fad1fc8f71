3 simulate streaming_machine toy_llm --phase generate --prompt 4 --tokens 4
