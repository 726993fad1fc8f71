from dataflow import Section, Stream, Task, every, sequence, work

one = every(work("reduce", mac=0, exp=0, flop=1))
rows_of_8, rows_of_7 = sequence((0, 7), (1, 1)), sequence((1, 1), (0, 6))
Section(
    "attention",
    (
        Task("sum", "reduce", 32, one, gives={"sum > divide": rows_of_8}),
        Task("divide", "zip", 32, one, takes={"sum > divide": rows_of_7}),
    ),
    (Stream("sum > divide", 1),),
)
