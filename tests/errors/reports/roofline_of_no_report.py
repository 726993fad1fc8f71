from archsim.report import plot

plot.roofline("toy")
