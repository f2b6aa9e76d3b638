"""The runtime: executes on a real model the very schedule that was simulated."""
