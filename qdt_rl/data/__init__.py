"""From Minari datasets to contiguous trajectories to windows, and datasets of our own; NumPy only."""
