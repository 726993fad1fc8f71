"""The fused pipeline of ternary table look-up: its units, its calls, what does not fit, and the order in a layer."""
