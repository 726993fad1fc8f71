3 simulate sn40l llama3_8b --phase decode --context 3 --set units.tail.count=10
