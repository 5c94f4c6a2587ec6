"""Whether women with more burden have more of an outcome, at the same age: an association in this cohort, and no risk claim.

Logistic regression for an outcome of 0 and 1, linear regression for any other number, on burden and age, by statsmodels
(Seabold and Perktold, SciPy 2010; BSD), the extra ``associate``. A woman counts once. Burden is measured with error, which
draws its coefficient towards none.
"""

from __future__ import annotations

import importlib
import math
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from tramtrack.cohort.labels import pseudonymous
from tramtrack.cohort.privacy import Secret
from tramtrack.cohort.table import read_table
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.protocol import Protocol

BURDEN_STEP_MM2 = 10.0
AGE_STEP_YEARS = 10.0
TERMS = {"burden": f"burden, per {BURDEN_STEP_MM2:g} mm2", "age": f"age, per {AGE_STEP_YEARS:g} years"}
COLUMNS = [
    "outcome", "source", "model", "term", "measure", "estimate", "low", "high", "p", "n", "events", "left_out", "reason",
]  # fmt: skip
IN_THIS_COHORT = (
    "An association in this cohort, adjusted for age alone: it says nothing of causes, and nothing of any woman's risk."
)


def measured_women(path: Path) -> pd.DataFrame:
    """women_burden.csv, with its texts as they stand. Raises TramtrackError where nothing was measured yet."""
    if not path.exists():
        raise TramtrackError(f"{path}: no burden yet; run `tramtrack burden {path.parents[1]}` first")
    texts = {"woman": str, "exam": str, "source": str, "analysed": str}
    missing = {"area": [""], "age_years": [""]}
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=missing)


def women_of(table: pd.DataFrame, source: str | None, best: str) -> pd.DataFrame:
    """The rows of `measured_women` of one source, where none is named the ``best``, of the analysed exams.

    Raises UsageError where nothing was measured of it.
    """
    measured = ", ".join(table["source"].unique())
    if source is None and best not in set(table["source"]):
        raise UsageError(
            f"no burden of {best}, the best run on validation, could be measured; name another by --source: {measured}"
        )
    source = source or best
    if source not in set(table["source"]):
        raise UsageError(f"--source {source}: expected one of {measured}")
    chosen = table[(table["source"] == source) & (table["analysed"] == "yes")]
    return chosen.reset_index(drop=True)


def read_outcomes(path: Path, women: frozenset[str], secret: Secret) -> pd.DataFrame:
    """The outcomes of the ``women``, float, a column an outcome, NaN for an empty cell; indexed by woman.

    ``path`` has the column woman, by the PatientID or by the name that she has in the study. Raises TramtrackError naming the
    line.
    """
    columns, lines = read_table(path, "a table of outcomes with the column woman")
    outcomes = [name for name in columns if name and name != "woman"]
    if "woman" not in columns or not outcomes:
        raise TramtrackError(f"{path}: expected the column woman and a column an outcome, found {', '.join(columns)}")
    found: dict[str, dict[str, float]] = {}
    for line, row in lines:
        woman = row["woman"]
        if secret.key:
            woman = pseudonymous((woman, "", "", ""), secret.key, women)[0]
        if woman in found:
            raise TramtrackError(f"{path}, line {line}: expected one row for each woman; {row['woman']} stood there already")
        found[woman] = {name: _number(row[name], name, path, line) for name in outcomes}
    table = pd.DataFrame.from_dict(found, orient="index", columns=outcomes)
    table = table[table.index.isin(women)]
    if table.empty:
        raise TramtrackError(f"{path}: none of its {len(found)} women is one whose burden was measured; woman is the PatientID")
    return table


def _number(text: str, column: str, path: Path, line: int) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TramtrackError(f"{path}, line {line}: column {column}: expected a number or nothing, received {text!r}")
    return value


def associate(women: pd.DataFrame, outcomes: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """A row an outcome and term (burden, age) with COLUMNS.

    ``women`` is that of `women_of`, ``outcomes`` that of `read_outcomes`. ``measure`` is "odds ratio" or "difference" (of the
    outcome's mean), for 10 mm2 more at the same age and for 10 years more at the same burden; ``left_out`` counts women
    without area, age or outcome. Where events, or women, are too few, or burden tells the outcome apart without error, there
    is a reason in place of numbers. Raises TramtrackError without statsmodels.
    """
    models = _statsmodels()
    measured = women.set_index("woman")[["area", "age_years"]].astype(float)
    source = str(women["source"].iloc[0])
    rows = []
    for outcome in outcomes.columns:
        known = measured.assign(outcome=outcomes[outcome].reindex(measured.index).astype(float)).dropna()  # or age_years
        values = known["outcome"].to_numpy()
        logistic = bool(np.isin(values, (0, 1)).all())
        about = {
            "outcome": outcome, "source": source, "model": "logistic" if logistic else "linear",
            "measure": "odds ratio" if logistic else "difference", "n": len(known),
            "events": int(values.sum()) if logistic else pd.NA, "left_out": len(measured) - len(known),
        }  # fmt: skip
        found = _refusal(known, logistic, protocol) or _fitted(models, known, logistic, protocol)
        for term, text in TERMS.items():
            numbers = {"reason": found} if isinstance(found, str) else {**found[term], "reason": ""}
            rows.append({**about, "term": text, **numbers})
    return pd.DataFrame(rows, columns=COLUMNS).astype({"events": "Int64"})


def _refusal(known: pd.DataFrame, logistic: bool, protocol: Protocol) -> str:
    """Why nothing can be said, or empty."""
    needed = protocol.burden.events_per_coefficient * len(TERMS)
    if logistic:
        events = int(known["outcome"].sum())
        if min(events, len(known) - events) < needed:
            return f"{events} events and {len(known) - events} women without; {needed} of each are needed"
    elif len(known) < needed:
        return f"{len(known)} women; {needed} are needed"
    for name, text in (("area", "burden"), ("age_years", "age"), ("outcome", "outcome")):
        if known[name].nunique() < 2:
            return f"all women have the same {text}"
    return ""


def _fitted(models: ModuleType, known: pd.DataFrame, logistic: bool, protocol: Protocol) -> dict[str, dict[str, float]] | str:
    """Estimate, interval and p of each term, or why there are none."""
    scaled = {"burden": known["area"] / BURDEN_STEP_MM2, "age": known["age_years"] / AGE_STEP_YEARS}
    design = models.add_constant(pd.DataFrame(scaled))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is looked at below
        try:
            model = (models.Logit if logistic else models.OLS)(known["outcome"], design)
            fit = model.fit(disp=0, maxiter=100) if logistic else model.fit()
            bounds = fit.conf_int(alpha=1 - protocol.evaluation.confidence)
        except (np.linalg.LinAlgError, ValueError) as error:
            return f"no fit: {error}"
    numbers = np.concatenate((fit.params.to_numpy(), fit.bse.to_numpy()))
    if (logistic and not fit.mle_retvals["converged"]) or not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e3:
        return "no fit: burden and age tell the outcome apart without error"
    shown = np.exp if logistic else np.asarray
    return {
        name: {
            "estimate": float(shown(fit.params[name])),
            "low": float(shown(bounds.loc[name, 0])),
            "high": float(shown(bounds.loc[name, 1])),
            "p": float(fit.pvalues[name]),
        }
        for name in TERMS
    }


def _statsmodels() -> ModuleType:
    try:
        return importlib.import_module("statsmodels.api")
    except ImportError as error:
        raise TramtrackError(
            f'associations need statsmodels ({error}); pip install ".[associate]" in the folder of tramtrack'
        ) from error
