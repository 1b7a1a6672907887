"""Conditions that an email meets or does not: what routing rules and queue rules have in common. Pure."""
