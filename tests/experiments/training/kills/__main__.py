"""Kill whole runs until there were so many kills: count, and seed if it is not 0."""

import sys

from tests.experiments.training.kills.killed_runs import main

count, seed = [*map(int, sys.argv[1:]), 0][:2]
main(count, seed)
