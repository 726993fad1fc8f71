3 simulate toy llama3_8b --phase decode --context 3
