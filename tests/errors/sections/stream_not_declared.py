from dataflow import Section, Task, every, work

one = every(work("map", mac=1, exp=0, flop=0))
Section(
    "attention",
    (Task("score", "source", 8, one, gives={"s": every(1)}), Task("exp", "map", 8, one, takes={"s": every(1)})),
    (),
)
