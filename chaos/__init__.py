"""Mercury under fire: `python chaos/run.py`. Real processes, real failures, and an accounting of every mail."""
