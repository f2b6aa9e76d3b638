"""Kernel tables from measured kernels: `table` reads, `fit` smooths, `validation` holds out,
`file` writes what `zo2sim.cost.kernels` reads.
"""
