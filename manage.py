#!/usr/bin/env python
"""Mercury's commands: `python manage.py help` lists them."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error

from mercury.lib import commands
from mercury.lib.database import database_errors

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mercury.settings")
    if not any(argument.startswith(("--settings", "--pythonpath")) for argument in sys.argv):
        try:
            settings.SECRET_KEY  # noqa: B018 (reads the environment; Django would show an error in it below a traceback)
        except ImproperlyConfigured as error:
            sys.exit(f"Mercury does not start. {error}")
    commands.escape_unencodable_output()
    try:
        execute_from_command_line(sys.argv)
    except Error as error:  # of a command of Django's; Mercury's say it themselves
        if "--traceback" in sys.argv or not database_errors.is_temporary(error):
            raise
        sys.exit(f"CommandError: The database says: {commands.make_printable(error).strip()}")
