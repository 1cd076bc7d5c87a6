"""Sealing of secrets that must be kept: the worker key that came with a durable task.

Fernet (AES-128-CBC with HMAC-SHA256, https://github.com/fernet/spec) under a key derived by HKDF
from LB_AUTH_KEY, so that the store alone gives nothing away and a changed key makes old secrets
unreadable instead of wrong.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Sealer:
    """Seals and opens short secrets.

    Args:
        secret: LB_AUTH_KEY of this balancer.
    """

    def __init__(self, secret: str) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"cabrank store secrets v1").derive(
            secret.encode()
        )
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, secret: str | None) -> str | None:
        """Return a secret in a form that may be stored."""
        return None if secret is None else self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str | None) -> str | None:
        """Return the secret, or None when it was sealed under another key."""
        if sealed is None:
            return None
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            return None
