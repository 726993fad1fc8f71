2 show toy_llm --of design
