"""What tools/bench_training.py runs: training steps of the trainers and of other libraries.

Each row is timed in a process of its own (`worker`), which `running` drives in interleaved rounds.
"""
