"""A user's model as units of parameters. Imports nothing of ours but shapes and dtypes.

`discovery` finds the blocks, `uses` who uses a parameter, `units` what moves together, `codec` the
wire's form, `integers` weights of four and eight bits; `binding` points modules at buffers, `decay`
and `loss` are the defaults of both.
"""
