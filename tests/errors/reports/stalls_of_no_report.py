from archsim.report import plot

plot.stall_causes(["toy"])
