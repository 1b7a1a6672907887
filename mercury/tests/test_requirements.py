"""The pins are complete on every Python and system that Mercury runs on, not only on those that compiled them."""

import itertools
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from django.conf import settings
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.one_leg

ROOT = Path(settings.BASE_DIR)
PYTHONS = ("3.11.0", "3.11.2", "3.11.9", "3.12.0", "3.13.0", "3.14.0")  # pip tells 3.11.2 from 3.11.3
SYSTEMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
PIN = re.compile(r"^([\w.-]+)(?:\[([\w,.-]+)\])?==", re.MULTILINE)


def read_pins(name: str) -> dict[str, set[str]]:
    """Return the pinned packages of a file, with their extras."""
    found = PIN.findall((ROOT / name).read_text())
    return {canonicalize_name(package): set(filter(None, extras.split(","))) for package, extras in found}


def list_environments() -> Iterator[dict[str, str]]:
    for python, (sys_platform, system, machine) in itertools.product(PYTHONS, SYSTEMS):
        yield {
            "python_full_version": python,
            "python_version": python.rpartition(".")[0],
            "sys_platform": sys_platform,
            "platform_system": system,
            "platform_machine": machine,
        }


def list_needed(package: str, extras: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what a package needs somewhere, each with the Python and the system."""
    for text in metadata.requires(package) or []:
        needed = Requirement(text)
        for environment, extra in itertools.product(list_environments(), ["", *extras]):
            if needed.marker is None or needed.marker.evaluate(environment | {"extra": extra}):
                where = f"Python {environment['python_full_version']} on {environment['platform_system']}"
                yield canonicalize_name(needed.name), where


@pytest.mark.parametrize("names", [["requirements.txt"], ["requirements.txt", "requirements-dev.txt"]], ids="+".join)
def test_everything_that_a_pin_needs_is_pinned(names):
    # With hashes, pip installs nothing at all if one package that it needs has no pin.
    pins = {package: extras for name in names for package, extras in read_pins(name).items()}
    missing = {
        f"{needed}, which {package} needs with {where}"
        for package, extras in pins.items()
        for needed, where in list_needed(package, extras)
        if needed not in pins
    }
    assert len(pins) > 40
    assert not missing


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_supports_every_python(name):
    def supports(package: str, python: str) -> bool:
        [declared] = metadata.metadata(package).get_all("Requires-Python") or [""]
        return SpecifierSet(declared).contains(python)

    assert not [(package, python) for package in read_pins(name) for python in PYTHONS if not supports(package, python)]
