"""A calibration. Imports nothing of ours but `cli`.

`designs` says which runs and `benchmarks` what beside them, `host` and `card` measure,
`recorded_run` keeps one, `references` tell how the machine drifts meanwhile, `crowded` runs how
several devices slow each other, `samples` what the machine did.
"""
