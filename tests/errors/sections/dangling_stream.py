from dataflow import Section, Stream, Task, every, work

one = every(work("map", mac=1, exp=0, flop=0))
Section(
    "attention",
    (
        Task("exp", "map", 8, one, gives={"exp > sum": every(1), "exp > divide": every(1)}),
        Task("sum", "reduce", 8, one, takes={"exp > sum": every(1)}),
    ),
    (Stream("exp > sum", 2), Stream("exp > divide", 8), Stream("sum > divide", 1)),
)
