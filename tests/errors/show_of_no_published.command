2 show toy_llm --of published
