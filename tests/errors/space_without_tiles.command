3 simulate toy toy_video --phase decode --context 3 --mapper spatial
