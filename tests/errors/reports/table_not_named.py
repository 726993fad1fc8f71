from mappers import run

report = run("toy", "toy_llm", phase="decode", context=4)
report.to_frame()
