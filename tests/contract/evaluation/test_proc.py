"""DeLong as R's pROC has it: against numbers that pROC printed, and, by `make peers`, against pROC itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tramtrack.evaluation.clustered import delong, delong_differences
from tramtrack.evaluation.comparisons import compare

HERE = Path(__file__).parent
TABLES = ("continuous", "tied", "near_one")
RSCRIPT = shutil.which("Rscript")


def ours(table: pd.DataFrame) -> dict[str, float]:
    """The same six numbers from tramtrack."""
    labels, women = table["label"].to_numpy(dtype=bool), np.arange(len(table))
    scores = [table[name].to_numpy(dtype=float) for name in ("a", "b")]
    aucs, covariance = delong(scores, labels, women)
    p = delong_differences(scores, labels, women)[0, 1]
    return {
        "auc_a": aucs[0],
        "auc_b": aucs[1],
        "variance_a": covariance[0, 0],
        "variance_b": covariance[1, 1],
        "covariance": covariance[0, 1],
        "p": p,
    }


@pytest.mark.parametrize("name", TABLES)
def test_delong_is_what_proc_printed(name):
    expected = json.loads((HERE / "proc.json").read_text())[name]
    table = pd.read_csv(HERE / f"{name}.csv")
    assert ours(table) == pytest.approx(expected, rel=1e-9)
    pair = {key: table[key].to_numpy(dtype=float) for key in ("a", "b")}
    options = {"unit": "woman", "generator": np.random.default_rng(0), "resamples": 200}
    (compared,) = compare(pair, table["label"], np.arange(len(table)), **options)
    assert compared.p_delong == pytest.approx(expected["p"], rel=1e-9)


@pytest.mark.peers
@pytest.mark.skipif(RSCRIPT is None, reason="needs R with pROC: the Debian package r-cran-proc")
@pytest.mark.parametrize("name", TABLES)
def test_proc_prints_it_again(name):
    done = subprocess.run([RSCRIPT, HERE / "proc.R", HERE / f"{name}.csv"], capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout)
    assert printed == pytest.approx(json.loads((HERE / "proc.json").read_text())[name], rel=1e-9)
    assert ours(pd.read_csv(HERE / f"{name}.csv")) == pytest.approx(printed, rel=1e-9)
