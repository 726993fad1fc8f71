2 simulate toy_retrieval toy_video --phase frame --context 20 --selection resv --set selection.settings.buckets=2147483648
