"""API-key authentication and rate limits."""

import hashlib
import hmac
import time
from collections.abc import Sequence

from service.errors import RateLimited, Unauthorized
from service.http.context import Role
from service.settings import Settings, SettingsError

# Before a key that may load and unload models too; others may do everything else.
_ADMIN = "admin:"
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
# What a key may spend at once: two seconds of its rate.
_BURST_SECONDS = 2.0


class _TokenBucket:
    """A token bucket: `rate` a second, some saved up."""

    def __init__(self, rate: float) -> None:
        self._rate, self._most = rate, max(1.0, rate * _BURST_SECONDS)
        self._tokens, self._since = self._most, time.monotonic()

    def take(self) -> float:
        """Takes one and returns 0, or returns the seconds until there is one."""
        now = time.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._since) * self._rate)
        self._since = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class ApiKeys:
    """The keys that the service accepts; without any it is open to all.

    Args:
        keys: The keys in clear, an administrator's after `admin:`; only their digests are kept.
        rate: Requests a second that each may make; 0 for as many as it likes.
    """

    def __init__(self, keys: Sequence[str], rate: float) -> None:
        self._roles: list[Role] = ["admin" if key.startswith(_ADMIN) else "predict" for key in keys]
        self._digests = [hashlib.sha256(key.removeprefix(_ADMIN).encode()).digest() for key in keys]
        self._buckets = [_TokenBucket(rate) for _ in keys] if rate else []

    @classmethod
    def from_settings(cls, settings: Settings) -> "ApiKeys":
        """Returns the keys of the settings and of the file that they name.

        Raises:
            SettingsError: The file cannot be read or holds no key, or a key is empty.
        """
        keys = [key.get_secret_value().strip() for key in settings.api_keys]
        if settings.api_key_file is not None:
            try:
                lines = settings.api_key_file.read_text().splitlines()
            except OSError as error:
                raise SettingsError(f"WHITEBOX_API_KEY_FILE cannot be read: {error}.") from error
            from_file = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            if not from_file:
                raise SettingsError(f"{settings.api_key_file} (WHITEBOX_API_KEY_FILE) holds no key.")
            keys += from_file
        if not all(key.removeprefix(_ADMIN) for key in keys):
            raise SettingsError("WHITEBOX_API_KEYS or WHITEBOX_API_KEY_FILE holds an empty key.")
        return cls(keys, settings.rate_limit)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def authenticate(self, key: bytes | None) -> Role | None:
        """Accepts a request by its key; returns the key's role, None where none is needed.

        Raises:
            Unauthorized: It brings no key, or a wrong one.
            RateLimited: Its key has been used too often.
        """
        if not self._digests:
            return None
        if key is None:
            raise Unauthorized("Send an API key: X-API-Key, or Authorization: Bearer.", headers=_CHALLENGE)
        found = self._find(key)
        if found is None:
            raise Unauthorized("The API key is not known.", headers=_CHALLENGE)
        if self._buckets and (wait := self._buckets[found].take()):
            retry = {"Retry-After": str(max(1, round(wait)))}
            raise RateLimited("This API key is used more often than it may be.", headers=retry)
        return self._roles[found]

    def _find(self, key: bytes) -> int | None:
        """Compares with every key, so that the time tells nothing."""
        digest = hashlib.sha256(key).digest()
        found = None
        for index, known in enumerate(self._digests):
            if hmac.compare_digest(digest, known):
                found = index
        return found
