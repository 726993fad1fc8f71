from archsim.report import plot

plot.timeline("toy")
