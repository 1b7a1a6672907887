"""SQLite whose writers within one process take turns; see `base`, where Django looks for a database backend."""
