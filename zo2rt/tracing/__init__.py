"""Shapes of a model that transformers can build. Imports `model` only.

`building` makes the class of a config without weights, and `inputs` what it reads; `shadow` runs it
without arithmetic, and `counting` says what ran, unit by unit, with `attention` caught whole;
`fitting` turns counts at several lengths into a `zo2sim.models.shapes.Unit`, and `tracing` all of
it into a `Model`.
"""
