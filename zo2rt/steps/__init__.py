"""The schedule, executed. Imports every room but `engine` and `measure`.

`executor` issues operations to a backend, `operations` says what each does, `step` is one in the
making and `outcome` what a person sees of it; `timeline` keeps what ran when, `conformance` checks
it against the schedule, `supported` says what is not executed.
"""
