import archsim
from dataflow import Graph, Schedule, Section, Task, every, work

one = every(work("map", mac=0, exp=0, flop=0))
tasks = (Task("exp", "map", 8, one), Task("log", "map", 8, one))
section = Section("two maps", tasks, (), orders={"map": (("exp", 8), ("log", 8))})
design = archsim.load_design("streaming_machine")
archsim.simulate(Schedule(Graph("by hand"), design.name, "by hand", (section,)), design)
