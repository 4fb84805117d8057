"""What runs, where, and once: the study file, its jobs, the store of results, and the runner."""
