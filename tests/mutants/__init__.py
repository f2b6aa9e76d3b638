"""What `tests.mutate` is made of: `changes` makes mutants, `trial` runs tests on them.

`touched` finds out which tests run which lines, `server` is the process in which they run.
"""
