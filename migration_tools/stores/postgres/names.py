"""Names within the 63 bytes that PostgreSQL keeps of an identifier; it cuts longer ones without a word."""

import hashlib

LONGEST = 63
_DIGEST = 8


def fitting(name: str, longest: int = LONGEST) -> str:
    """The name itself, or its beginning and a hash of it in at most `longest` bytes."""
    if len(name.encode()) <= longest:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{name.encode()[: longest - _DIGEST - 1].decode(errors='ignore')}_{digest}"
