"""What the identity of a run is made of: the canonical form of a value, its digest, and fields added later."""

import hashlib
import json


class Since:
    """Marks a field added in a later version: `Annotated[int, Since("0.2")]`; old identities stay what they were."""

    def __init__(self, version: str) -> None:
        self.version = version


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
