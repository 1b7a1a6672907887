"""Errors of storages, whatever the library."""


class StorageUnavailable(OSError):
    """The storage of files does not serve now, or has no room. The text says why, without a secret."""


class FileMissing(StorageUnavailable):
    """The storage has no such file. The text is its name there."""
