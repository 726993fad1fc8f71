import archsim
from dataflow import Graph, Schedule, Section, Task, every, work

one = every(work("map", mac=0, exp=0, flop=0))
section = Section("two maps", (Task("exp", "map", 8, one), Task("log", "map", 8, one)), ())
design = archsim.load_design("streaming_machine").with_({"units.map.count": 1})
archsim.simulate(Schedule(Graph("by hand"), design.name, "by hand", (section,)), design)
