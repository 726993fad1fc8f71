from dataflow import Section, Stream, Task, every, work

one = every(work("map", mac=1, exp=0, flop=0))
Section(
    "scan",
    (
        Task("step", "map", 8, one, takes={"state": every(1)}, gives={"next": every(1)}),
        Task("delay", "map", 8, one, takes={"next": every(1)}, gives={"state": every(1)}),
    ),
    (Stream("state", 2), Stream("next", 2)),
)
