2 check scalesim_configuration.cfg
