"""Routing rules: what they say, which email matches which, and how they are changed."""
