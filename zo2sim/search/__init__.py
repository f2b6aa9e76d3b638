"""The best plan of a space, proven. Imports every room but `baselines`.

`space` and `candidates` say what is looked at, `placement_bounds` and `ledger` bound it, `search`
and `pareto` find the best and the front, `neighbours` finds what bounds do not tell apart.
Backwards: `least_memory`, `least_link`, `largest`.
"""
