from archsim.report import plot
from mappers import run

report = run("toy", "toy_llm", phase="decode", context=4)
plot.fifo_occupancy(report, window=(-1, 5))
