"""Weights of one's own: their origin goes into run.json and into the report's table, and decides whether a run is another."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from keras_layouts import random_tensors, write_legacy
from tramtrack import store
from tramtrack.network import places
from tramtrack.network.shelf import import_file
from tramtrack.network.weights import obtain
from tramtrack.protocol import Protocol
from tramtrack.report.provenance_tables import unusual_weights, weight_rows
from tramtrack.training.record import RunKey
from tramtrack.training.run import train_run
from tramtrack.training.setup import Fold, set_up

PROTOCOL = """
[prepare]
height = 64
width = 32
[transfer]
widths = [4, 2]
[training]
epochs = 1
batch_size = 4
"""


def test_the_origin_of_imported_weights_stands_in_the_run_and_in_the_report(monkeypatch, tmp_path, views):
    monkeypatch.delenv(places.WEIGHTS_DIR, raising=False)
    monkeypatch.setenv(places.CACHE, str(tmp_path / "cache"))
    path = tmp_path / "mine.h5"
    tensors = {key: array * 0.1 for key, array in random_tensors("mobilenet").items()}
    path.write_bytes(write_legacy("mobilenet", tensors))
    import_file("mobilenet", path, source="our archive", licence="CC0", trained_on="chest radiographs")
    protocol = Protocol.from_toml(PROTOCOL, "tiny")
    key, hashes = RunKey("mobilenet", "last-conv", 0), {"folds": "f", "prepared": "p"}

    def train():
        setup = set_up(key, obtain("mobilenet"), Fold(views), protocol, hashes)
        return train_run(setup, tmp_path / "runs", tmp_path / "activations")

    run = train()
    written = store.read_json(run.folder / "run.json")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert written["identity"]["weights_source"] == "our archive"
    assert written["identity"]["weights_sha256"] == digest
    assert written["information"]["weights_licence"] == "CC0"
    assert written["information"]["weights_trained_on"] == "chest radiographs"
    assert weight_rows(SimpleNamespace(runs=[run])) == [
        {
            "title": "MobileNet",
            "control": "",
            "source": "our archive",
            "sha256": digest,
            "licence": "CC0",
            "trained_on": "chest radiographs",
        }
    ]
    assert unusual_weights(run) == "chest radiographs"
    other = tmp_path / "other.h5"
    other.write_bytes(write_legacy("mobilenet", {key: array + 0.1 for key, array in tensors.items()}))
    import_file("mobilenet", other, source="our archive", replace_kept=True)
    with pytest.raises(store.IdentityMismatch, match=f"weights_sha256: on disk '{digest}'"):
        train()
