3 simulate sn40l_node toy_video --phase decode --context 3 --mapping mappings/uneven_sockets.yaml
