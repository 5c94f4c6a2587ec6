"""Rows for the tables that say where everything came from: labels, weights, settings, machines, looks, cost."""

from __future__ import annotations

from typing import Any

from tramtrack import store
from tramtrack.network.registry import IMAGENET
from tramtrack.protocol import Protocol
from tramtrack.report.cells import number, whole
from tramtrack.report.reading import Material, title
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Run

ORIGINS = {
    "paper": "stated in the study's abstract or quoted methods",
    "inferred": "worked out from the study's counts",
    "unverified": "ascribed to the study by others",
    "ours": "chosen by us: the study's methods are not known, or this protocol departs from them",
}


def label_table(material: Material) -> dict[str, str]:
    """The name and the hash of the label table as it was read at the intake; empty where that was not written down."""
    path = material.folder / "cohort" / "labels.json"
    if not path.exists():
        return {}
    kept = store.read_json(path)
    return {"file": str(kept["information"]["file"]), "sha256": str(kept["identity"]["sha256"])}


def unusual_weights(run: Run) -> str:
    """What a pretrained run's weights saw besides plain ImageNet, or that this is not stated; empty for the plain ones."""
    trained_on = str(run.information.get("weights_trained_on") or "not stated")
    if run.weights != PRETRAINED or trained_on == IMAGENET:
        return ""
    return trained_on.removeprefix(IMAGENET).removeprefix("; ") if trained_on != "not stated" else "training data not stated"


def resource_rows(material: Material) -> list[dict[str, str]]:
    """resources.csv, readable."""
    rows = []
    for row in material.resources.to_dict("records"):
        rows.append(
            {
                "title": title(str(row["network"])),
                "seed": str(row["seed"]),
                "control": "" if row["weights"] == PRETRAINED else RANDOM_WEIGHTS,
                "depth": whole(row["depth"]),
                "weight_layers": whole(row["weight_layers"]),
                "parameters": whole(row["parameters"]),
                "trained_in_base": whole(row["trained_in_base"]),
                "head": whole(row["head"]),
                "multiply_adds": number(row["multiply_adds"] / 1e9, 2),
                "uncached": number(row["seconds_an_epoch_uncached"], 1),
                "cached": number(row["seconds_an_epoch_cached"], 1),
                "milliseconds": number(row["milliseconds_a_view"], 1),
                "memory": whole(row["peak_memory_mb"]),
                "epochs": f"{whole(row['epochs'])} ({whole(row['best_epoch'])})",
                "dtype": str(row["dtype"]),
            }
        )
    return rows


def protocol_rows(protocol: Protocol) -> list[dict[str, str]]:
    """Every setting with its value, unit, whose choice it is, and meaning.

    A setting that differs from the preset mobini-2024 is ours, whoever stated the preset's value; ``preset`` then holds it.
    """
    preset = {(row["section"], row["key"]): row["value"] for row in Protocol.load("mobini-2024").settings()}
    rows = []
    for row in protocol.settings():
        original = preset[row["section"], row["key"]]
        changed = row["value"] != original
        rows.append({**row, "origin": "ours" if changed else row["origin"], "preset": original if changed else ""})
    return rows


def origin_counts(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """How many settings are the paper's, inferred, unverified and ours, with what each word means."""
    return [
        {"origin": origin, "meaning": meaning, "count": sum(row["origin"] == origin for row in rows)}
        for origin, meaning in ORIGINS.items()
    ]


def weight_rows(material: Material) -> list[dict[str, str]]:
    """One row a network: where its weights came from, their hash and licence, and what they were trained on."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for run in material.runs:
        random = run.weights != PRETRAINED
        rows[run.key.network, run.weights] = {
            "title": title(run.key.network),
            "control": RANDOM_WEIGHTS if random else "",
            "source": RANDOM_WEIGHTS if random else str(run.identity.get("weights_source") or "not stated"),
            "sha256": "" if random else str(run.identity.get("weights_sha256") or ""),
            "licence": "" if random else str(run.information.get("weights_licence") or "not stated"),
            "trained_on": "" if random else str(run.information.get("weights_trained_on") or "not stated"),
        }
    return list(rows.values())


def machine_rows(material: Material) -> list[dict[str, str]]:
    """The machines and versions that the runs were made with; each distinct set once, with the runs that share it."""
    shared: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in material.runs:
        facts = {**run.information.get("machine", {}), **run.information.get("versions", {}), "dtype": run.identity["dtype"]}
        key = tuple((str(name), str(value)) for name, value in facts.items())
        shared.setdefault(key, []).append(f"{title(run.key.network)} (seed {run.key.seed})")
    together = {next(iter(shared)): ["All runs"]} if len(shared) == 1 else shared
    return [{"runs": ", ".join(runs), "facts": "; ".join(f"{k} {v}" for k, v in key)} for key, runs in together.items()]


def look_rows(material: Material) -> list[dict[str, str]]:
    """The log of looks at the test fold, oldest first."""
    rows = []
    for number_, entry in enumerate(material.looks, start=1):
        runs = entry["look"]["runs"]
        named = []
        for run in runs:
            weights = "" if run["weights"] == PRETRAINED else f", {run['weights']}"
            named.append(f"{title(run['network'])} (seed {run['seed']}{weights})")
        rows.append(
            {
                "number": str(number_),
                "time": str(entry["time"]).replace("T", " ").replace("+00:00", " UTC"),
                "runs": ", ".join(named),
                "protocol": str(entry["look"]["protocol"])[:12],
            }
        )
    return rows
