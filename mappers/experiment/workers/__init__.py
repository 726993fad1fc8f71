"""Who makes the rows of a sweep: processes of this machine, or the workers of a cluster."""
