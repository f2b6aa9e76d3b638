"""Benchmarks. Imports `cli` and `screen` only.

`simulator`, `runtime`, `card` and `noise` are what is measured, `runner` and `workload` the
runtime's side, `textbook` MeZO's loop beside it.
"""
