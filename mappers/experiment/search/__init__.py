"""Which points a sweep visits, a file for each way of choosing them."""
