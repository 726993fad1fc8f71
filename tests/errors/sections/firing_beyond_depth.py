from dataflow import Section, Stream, Task, every, work

one = every(work("map", mac=1, exp=0, flop=0))
Section(
    "tiles",
    (Task("load", "source", 2, one, gives={"s": every(4)}), Task("use", "map", 8, one, takes={"s": every(1)})),
    (Stream("s", 3),),
)
