"""The suppression list: which recipients get no email, how entries are added, and its CSV."""
