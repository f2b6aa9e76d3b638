"""What an engine will take of memory, and what there is. Imports `backends`, `model`, `weights`.

`demand` counts before anything is allocated, `room` refuses what has none; `cgroup` knows a
container's limit and `mapped` what loaded weights give back.
"""
