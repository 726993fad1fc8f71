3 simulate sn40l toy_video --phase decode --context 3 --mapping mappings/laid_out_wrongly.yaml
