"""Why a run takes the time it takes: stalls by cause, the critical path, and what each change would bring."""
