"""How two runs, or two designs, differ: what went in, then what came out."""
