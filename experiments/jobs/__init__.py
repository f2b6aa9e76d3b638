"""A sweep's jobs. Imports `case`, `answer` and `folder`.

`grid` and `presets` make jobs, `job` answers one, `pool` many at once, by the crews of `workers`
and `cluster`; `answers` keeps them so that a sweep resumes; `tables`, `records` and `report` sum
up. `tuned` is the folder that a search leaves.
"""
