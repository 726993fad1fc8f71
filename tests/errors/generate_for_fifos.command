2 size-fifos toy toy_llm --phase generate --prompt 8
