2 map systolic_two_level llama3_8b --phase generate --prompt 2 --tokens 2
