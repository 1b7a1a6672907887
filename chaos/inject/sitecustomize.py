"""Loaded by Python itself in processes whose PYTHONPATH the runner has set: plants what CHAOS_PLANT names."""

import os
import sys

from chaos import bugs

if names := os.environ.get("CHAOS_PLANT"):
    sys.meta_path.insert(0, bugs.Planter(names.split(",")))
