"""The memory of the published code, allocation by allocation, to the last digit.

`steps` lists what a step allocates, `allocations` replays it on `allocator` (PyTorch's caching
allocator in miniature), `accounts` itemises the peak.
"""
