"""Benchmarks of reconstruction: scores of every method, speed and memory, what parts of a network are worth."""
