"""How much memory of every kind a case needs. Imports `models`, `plan`, `machines`, `policies`.

`runtime` gives the account of this project's runtime, `published` that of others' code, itemised
as an `account`. `placements` does many plans at once; `workspace` and `pinned` are its terms.
"""
