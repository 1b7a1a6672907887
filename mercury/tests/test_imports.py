"""Imports run downwards only, and every file has its place; pyproject.toml says where."""

import tomllib
from pathlib import Path

import pytest
from django.conf import settings
from importlinter import cli

PYPROJECT = Path(settings.BASE_DIR) / "pyproject.toml"


@pytest.fixture
def contracts(monkeypatch):
    monkeypatch.chdir(settings.BASE_DIR)
    return tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]


def test_imports_run_downwards_only(contracts, capsys):
    ended = cli.lint_imports(config_filename=str(PYPROJECT), no_cache=True)

    assert ended == 0, capsys.readouterr().out


def test_every_module_of_the_project_is_above_the_apps(contracts):
    project, inside = contracts[0], contracts[1]
    above = {name.strip().removeprefix("mercury.") for name in project["layers"][0].split(":")}

    modules = {name.strip() for layer in inside["layers"] for name in layer.split("|")}

    assert above == modules - {"lib"}
