"""What may be chosen. Imports `dtypes` and `checks` only.

`policy` holds the policies' names and traits, `choices` Plan (where and when) and Recipe (which
bits), `refusals` the combinations that are refused with their reasons, `file` reads and writes
both as TOML.
"""

from zo2sim.plan.choices import Plan, Policy, Recipe

__all__ = ["Plan", "Policy", "Recipe"]
