"""From a case to an answer. Imports all rooms but `search` and `baselines`.

`predict` simulates one `case`; `vectorised` prices many plans at once, without contention.
`bands` says how uncertain an answer is, `sensitivity` and `regimes` what it hangs on, `drift` how
a machine has changed since its calibration, `extrapolation` what lies outside of it. `ranks` is a
step of many workers.
"""
