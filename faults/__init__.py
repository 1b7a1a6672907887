"""Mercury under fire: `python faults/run.py`. Real processes, real faults, and an accounting of every mail."""
