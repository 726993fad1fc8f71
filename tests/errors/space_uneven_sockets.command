3 simulate sn40l_node toy_video --phase decode --context 3 --set units.pcu.count=8321
