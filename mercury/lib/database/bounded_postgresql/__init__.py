"""PostgreSQL whose statements are bounded in time; see `base`, where Django looks for a database backend."""
