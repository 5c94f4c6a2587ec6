"""Several sites' numbers on the same runs, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.aggregate import Unit
from tramtrack.evaluation.pooling import Pooled, logit_with_error, pool
from tramtrack.prediction.site_file import Signed, read_signed


@dataclass(frozen=True)
class Site:
    """One site's AUC-ROC with its interval, or why it takes no part; ``public_key`` signed its file."""

    name: str
    public_key: str
    positives: int | None
    negatives: int | None
    auc: float | None
    low: float | None
    high: float | None
    reason: str


@dataclass(frozen=True)
class PooledSites:
    """The sites in the order of the files, and the pooled logit of the AUC of those that take part."""

    unit: Unit
    sites: tuple[Site, ...]
    pooled: Pooled


def pool_sites(files: Sequence[Path], unit: Unit = "woman", known: Sequence[str] = (), confidence: float = 0.95) -> PooledSites:
    """Pool the AUC-ROC of ``unit`` by random effects on its logit, see `pool`.

    ``known``: public keys that may sign; none means any. Raises TramtrackError where a file was changed, is signed by another
    key, is of other runs or another protocol than the first, or stands twice; UsageError where fewer than two sites take part.
    """
    signed = [read_signed(path) for path in files]
    _require_alike(files, signed, known)
    sites, effects, errors = [], [], []
    for one in signed:
        found = one.numbers.units[unit]
        figure = found.figures["auc_roc"]
        sites.append(
            Site(
                name=one.numbers.site,
                public_key=one.public_key,
                positives=found.positives,
                negatives=found.negatives,
                auc=figure.estimate,
                low=figure.low,
                high=figure.high,
                reason=figure.reason,
            )
        )
        if figure.estimate is not None and found.positives and found.negatives and found.auc_error is not None:
            effect, error = logit_with_error(figure.estimate, found.auc_error, found.positives, found.negatives)
            effects.append(effect)
            errors.append(error)
    if len(effects) < 2:
        raise UsageError(f"pooling needs the AUC of two sites at least, received that of {len(effects)} of {len(sites)}")
    return PooledSites(unit, tuple(sites), pool(effects, errors, confidence))


def _require_alike(files: Sequence[Path], signed: Sequence[Signed], known: Sequence[str]) -> None:
    seen: dict[str, Path] = {}
    for path, one in zip(files, signed, strict=True):
        if known and one.public_key not in known:
            raise TramtrackError(f"{path}: signed by the key {one.public_key}, which is not among those that you named")
        if (one.numbers.weights, one.numbers.protocol) != (signed[0].numbers.weights, signed[0].numbers.protocol):
            raise TramtrackError(f"{path}: of other runs than {files[0]}; only numbers on the same weights can be pooled")
        for what in (one.numbers.site, one.public_key):
            if what in seen:
                raise TramtrackError(f"{path}: the same site as {seen[what]}, by its name or its key; each may stand once")
            seen[what] = path
