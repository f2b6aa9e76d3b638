"""Predictions scored against what others measured on real GPUs: kernels' rates, links, forwards.

`score` is one of them, `times` and `constants` the two kinds of measurement, `summary` what is
promised of all of them. Every score is also one with its own source left out.
"""
