"""Machines: the catalogue's TOML files beside what reads them. Imports `plan` for its words.

`machine` is the value, `cpu` its part for calibrated cores, `quantity` one number and `units` what
it may be given in. `keys` are the numbers' names, `file` reads and writes, `evidence` (and
`evidence_file`) keeps where numbers come from, `what_if` changes one thing of a machine.
"""
