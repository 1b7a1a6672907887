"""The audit log: who rotated, revoked, registered, changed, deleted or tested what, by any door."""
