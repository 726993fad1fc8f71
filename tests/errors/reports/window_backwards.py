from mappers import run

report = run("toy", "toy_llm", phase="decode", context=4)
report.trace("trace.json", window=("5 ms", "1 ms"))
