"""The fused pipeline of ternary table look-up: its units, its calls, its limits, and the order of calls in a layer."""
