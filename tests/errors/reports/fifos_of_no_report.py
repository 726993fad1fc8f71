from archsim.report import plot

plot.fifo_occupancy(None)
