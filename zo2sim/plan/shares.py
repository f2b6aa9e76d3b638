"""Who makes which lanes."""


def share(num_lanes: int, rank: int, size: int) -> range:
    """A contiguous run of the lanes; runs differ by one lane at most, longer ones first.

    Lanes are (sample, sign, microbatch), the last fastest, so a run needs few of the perturbed
    weights. Raises ``ValueError`` where there are more ranks than lanes.
    """
    if size > num_lanes:
        raise ValueError(
            f"every rank must have a lane, and a step of this recipe has {num_lanes} (samples x 2 "
            f"signs x microbatches); got {size} ranks; start {num_lanes} at most, or take more "
            f"microbatches or samples"
        )
    own, longer = divmod(num_lanes, size)
    first = rank * own + min(rank, longer)
    return range(first, first + own + (rank < longer))
