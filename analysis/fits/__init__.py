"""Constants from measurements. Imports nothing of ours but `zo2sim`.

`law` is the regression; `machine`, `card`, `memory` and `kernels` make their constants with it,
`trace_rows` and `trace_file` get measurements out of traces.
"""
