"""Mercury under fire: `python chaos/run.py`. Real processes, real faults, and an accounting of every mail."""
