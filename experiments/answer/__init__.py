"""What is said of a prediction. Imports `case`.

`trust` is band, hold-out error and sources, `metrics` the records, `advice` what to change first,
`questions` the inverse ones, `prices` where a token is cheapest.
"""
