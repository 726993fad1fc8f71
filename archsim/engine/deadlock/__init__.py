"""Why a section cannot go on, and which depths would let it."""
