"""Benchmarks. Imports `cli` and `screen` only.

`simulator`, `runtime`, `card` and `noise` are what is measured, `textbook` MeZO's loop beside the
runtime's steps.
"""
