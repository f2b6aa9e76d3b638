"""How wrong predictions were. Imports `fits`.

`scores` sums up held-out runs, `promise` is what they must keep, `op_errors` and `replay` tell the
cost model's error from the rules', `peak_memory` compares processes.
"""
