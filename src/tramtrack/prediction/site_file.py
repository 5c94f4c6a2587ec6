"""The one small file that a site sends back: numbers on its women, small counts left out, signed.

The signature is Ed25519 (RFC 8032) over the file's canonical JSON. It shows that nothing was changed since the holder of the
key signed it. Whose key it is, a file cannot show: the site tells its public key by another way (a call, a contract).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tramtrack import store
from tramtrack.cohort.privacy import own_key_file, read_key
from tramtrack.errors import TramtrackError
from tramtrack.evaluation.aggregate import Unit

FEWEST = 5
"""Smaller counts are left out: they could point to persons."""
LONGEST_NAME = 100


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(_Strict):
    """A metric with its interval, in [0, 1]; all null where ``reason`` says why it is left out or undefined."""

    estimate: float | None = Field(ge=0, le=1)
    low: float | None = Field(ge=0, le=1)
    high: float | None = Field(ge=0, le=1)
    reason: str


class UnitFigures(_Strict):
    """What is said of views, breasts or women; counts are null where they, or what they could be worked out from, are small."""

    positives: int | None
    negatives: int | None
    women: int | None
    true_positives: int | None
    false_negatives: int | None
    false_positives: int | None
    true_negatives: int | None
    threshold: float | None
    figures: dict[str, Figure]
    auc_error: float | None = Field(ge=0, description="standard error of the AUC over resampled women")


class SiteNumbers(_Strict):
    """What a site found of runs that it did not train. ``weights`` are the hashes of the runs' files, in their order."""

    kind: Literal["tramtrack validation"] = "tramtrack validation"
    schema_version: Literal[1] = 1
    tramtrack: str
    site: str = Field(min_length=1, max_length=LONGEST_NAME)
    weights: tuple[str, ...]
    protocol: str
    synthetic: bool
    units: dict[Unit, UnitFigures]
    vendors: dict[str, int | None] = Field(description="women by vendor; null where small")


class Signed(_Strict):
    """The file: ``numbers``, the public key (64 hex digits) and the signature (128) of the numbers' canonical JSON."""

    numbers: SiteNumbers
    public_key: str = Field(pattern="^[0-9a-f]{64}$")
    signature: str = Field(pattern="^[0-9a-f]{128}$")


def suppressed(counts: Mapping[str, int], women: Mapping[str, int] | None = None) -> dict[str, int | None]:
    """Counts of parts of a known whole, those of fewer than FEWEST women left out; ``women`` behind each, its count if None.

    What is left out is known as a whole, by the difference: so the next smallest join it until there are two at least, and as
    many as FEWEST together.
    """
    behind = counts if women is None else women
    hidden = {name for name in counts if behind[name] < FEWEST}
    while hidden and len(hidden) < len(counts) and (len(hidden) < 2 or sum(counts[name] for name in hidden) < FEWEST):
        hidden.add(min((name for name in counts if name not in hidden), key=lambda name: counts[name]))
    return {name: None if name in hidden else count for name, count in counts.items()}


def sign(numbers: SiteNumbers, study: Path) -> Signed:
    """Sign with this user's own site key, made where there is none, beside the key of the pseudonyms and outside ``study``."""
    key = Ed25519PrivateKey.from_private_bytes(read_key(own_key_file().with_name("site-key"), study))
    return Signed(
        numbers=numbers,
        public_key=key.public_key().public_bytes_raw().hex(),
        signature=key.sign(_canonical(numbers)).hex(),
    )


def read_signed(path: Path) -> Signed:
    """A site's file, once its signature holds. Raises TramtrackError where it is no such file, or was changed."""
    try:
        found = Signed.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error.strerror)
        raise TramtrackError(f"{path}: expected what `tramtrack validate` writes, found something else ({said})") from error
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(found.public_key))
        key.verify(bytes.fromhex(found.signature), _canonical(found.numbers))
    except InvalidSignature as error:
        raise TramtrackError(f"{path}: changed since it was signed; ask the site for it anew") from error
    return found


def write_signed(path: Path, signed: Signed) -> Path:
    """Write a site's file."""
    return store.write_text(path, signed.model_dump_json(indent=2) + "\n")


def _canonical(numbers: SiteNumbers) -> bytes:
    return json.dumps(numbers.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
