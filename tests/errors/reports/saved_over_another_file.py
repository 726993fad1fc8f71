from mappers import run

report = run("toy", "toy_llm", phase="decode", context=4)
report.save("scalesim_layers.csv", table="ops")
