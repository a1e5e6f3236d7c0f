"""The fault suite: what a disk, a file, a neighbour or a limit can do wrong, many thousand times.

Run as ``python -m tests.torture --minutes 60 --seed 1`` or ``make torture MINUTES=60``.
"""
