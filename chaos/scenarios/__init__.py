"""All scenarios, one module per family. A module of this package with a list SCENARIOS is found automatically."""

import pkgutil
from importlib import import_module

from chaos.scenario import Scenario


def find() -> dict[str, Scenario]:
    """Return all scenarios by name, in the order of modules and lists."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {scenario.name: scenario for module in modules for scenario in module.SCENARIOS}
