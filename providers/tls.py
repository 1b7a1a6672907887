"""TLS to providers, with the public certificate authorities or one of the operator's own."""

import ssl
from functools import lru_cache

MAX_CA = 64 * 1024  # characters; a bundle of all public authorities is longer; the option is not for it


@lru_cache(maxsize=64)
def build_client_context(ca: str = "") -> ssl.SSLContext:
    """Return the TLS context for an account. `ca`: PEM certificates, trusted instead of the public ones; raises ValueError."""
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except ssl.SSLError:
        raise ValueError("It contains something other than PEM certificates.") from None
    if ca and not context.cert_store_stats()["x509_ca"]:
        raise ValueError("None of its certificates belongs to an authority (CA:TRUE).")
    if ca:  # from 3.13 on, Python refuses those that lack a key identifier, as many that people make for themselves do
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
