3 simulate sn40l toy_video --phase decode --context 3 --mapper tiled
