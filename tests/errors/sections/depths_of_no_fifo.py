from dataflow import Graph, Schedule, Section, Stream, Task, every, work

one = every(work("map", mac=0, exp=0, flop=0))
tasks = (Task("a", "source", 8, one, gives={"s": every(1)}), Task("b", "sink", 8, one, takes={"s": every(1)}))
schedule = Schedule(Graph("by hand"), "streaming_machine", "by hand", (Section("row", tasks, (Stream("s", 2),)),))
schedule.with_depths({"s": 4})
