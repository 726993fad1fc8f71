from archsim.report import plot
from mappers import run

report = run("toy", "toy_llm", phase="decode", context=4)
plot.timeline(report, window=(0, object()))
