"""What tools/bench_streaming.py runs: a module for each way to episodes, and those that time them.

Each way is timed in a process of its own (`worker`), which `running` drives in interleaved rounds.
"""
