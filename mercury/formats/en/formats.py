"""A time in a list of the admin has its zone, as on every other page. Django reads the names here instead of its own."""

DATETIME_FORMAT = "j M Y, H:i:s T"
