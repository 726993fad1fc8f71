from mappers import run

report = run("toy", "toy_llm", phase="decode", context=4)
report.trace("trace.json", window=(1, "2 ms", None))
