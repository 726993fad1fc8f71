"""A schedule run on a design: totals over its sections, the laws that must hold, and the bound that none can beat."""
