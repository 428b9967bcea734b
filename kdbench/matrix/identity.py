"""The parts of a run's identity: canonical JSON, its digest, and the mark of fields of later versions."""

import hashlib
import json


class Since:
    """Mark of a field of a later version: `Annotated[int, Since("0.2")]`.

    While the field has its default it is not part of the identity, so the ids of older runs do not change.
    """

    def __init__(self, version: str) -> None:
        self.version = version


def canonical(value: object) -> str:
    """Return a value as JSON with sorted keys and without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
