"""A run's folder. Imports `cli` only.

`write` leaves it, whole or not at all, `read` takes a finished one, `provenance` says where its
numbers come from.
"""
