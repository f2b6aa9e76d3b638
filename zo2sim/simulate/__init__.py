"""How long a schedule takes, given each operation's work. Imports `schedule` only.

`events` is the simulator: shared links, memory and cores, the answer that counts. `uncontended`
walks the edges where nothing is shared, for searches and bands; `bounds` is what no order can
beat. `pools` divides what several operations draw from. `steady` finds the period, `work` is the
currency; `trace` and `occupancy` tell what happened, `perfetto` and `kineto` write it for other
tools, both from `slices`.
"""
