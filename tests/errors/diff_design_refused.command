2 diff toy bare_clock.yaml
