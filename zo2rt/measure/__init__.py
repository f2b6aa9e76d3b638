"""Micro-benchmarks and short runs: durations beside what they take, for `analysis.fits.law`."""
