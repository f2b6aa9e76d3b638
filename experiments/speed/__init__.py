"""Benchmarks. Imports `cli` only.

`turns` measures several things in turn; `simulator`, `runtime`, `card` and `noise` are what is
measured, `runner` and `workload` the runtime's side, `textbook` MeZO's loop beside it.
"""
