2 simulate toy toy_llm --phase decode --context 8 --output run --html run/page.html
