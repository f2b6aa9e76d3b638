"""Machines: the catalogue's TOML files beside what reads them. Imports `plan` for its words.

`machine` is the value, `cpu` its part for calibrated cores, `node` the one for several devices:
`topology` reads how a driver says that they are connected, `nodes` are those of the catalogue.
`quantity` is one number and `units` what it may be given in. `keys` are the numbers' names, `file`
reads and writes, `evidence` (and `evidence_file`) keeps where numbers come from, `what_if` changes
one thing of a machine.
"""
