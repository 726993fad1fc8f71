3 simulate sn40l toy_llm --phase decode --context 3
