"""The schedule, executed. Imports every room but `engine` and `measure`.

`executor` issues operations to a backend, `operations` says what each does, `outcome` what a step
found; `timeline` keeps what ran when, `conformance` checks it against the schedule, `supported`
says what is not executed.
"""
