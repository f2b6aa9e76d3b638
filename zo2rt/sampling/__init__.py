"""What the machine does while a run goes on: memory, clocks, power, traffic, ten times a second.

`sampler.Sampler` asks a probe; `nvml.NvmlProbe` knows GPUs, `host.HostProbe` the machine itself.
"""
