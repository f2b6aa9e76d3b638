"""Machines: the catalogue's TOML files beside what reads them. Imports `plan` for its words.

`machine` is the value and `keys` its constants' names, `file` reads and writes, `evidence` (and
`evidence_file`) keeps where numbers come from, `what_if` changes one thing of a machine.
"""
