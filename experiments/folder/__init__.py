"""A run's folder. Imports `cli` and `entry`, which knows the command that was typed.

`write` leaves it, whole or not at all, `read` takes a finished one, `provenance` says where its
numbers come from.
"""
