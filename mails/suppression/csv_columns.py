"""The columns of the list's CSV, the same for import and export, so that an exported file can be imported as it is."""

COLUMNS = ("address", "scope", "reason", "detail", "source", "since", "expires", "mail")
EXPORTED_ONLY = frozenset({"source"})  # an import reads over it: the source of an imported entry is who imports it
REQUIRED = "address"
MEDIA_TYPE = "text/csv"
