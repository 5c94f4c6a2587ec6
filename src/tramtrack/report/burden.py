"""How much calcification the maps amount to, as the report shows it; read from results/burden_agreement.csv and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from tramtrack import store
from tramtrack.explain.burden import calibration_file
from tramtrack.judgement.burden import BANDS, PROXY
from tramtrack.report.burden_figures import bland_altman_figures
from tramtrack.report.cells import number, signed
from tramtrack.report.reading import Material, known, title
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS

AMOUNTS = {
    ("view", "area", "area"): "area of a view",
    ("view", "length", "length"): "length in a view",
    ("view", "area", "length"): "area against true length",
    ("woman", "area", "area"): "area of a woman",
}


@dataclass(frozen=True)
class Row:
    """One amount of one source: title, a tag (random weights, trained on masks), whose amounts, and the cells as they read."""

    title: str
    tag: str
    amount: str
    among: str
    rho: str
    bias: str
    limits: str
    counts: str
    reason: str


@dataclass(frozen=True)
class Matrix:
    """Women of one source by band: a row a true band, with the women in each measured one."""

    title: str
    tag: str
    rows: list[tuple[str, list[int]]]
    agreeing: int
    women: int


@dataclass(frozen=True)
class BurdenSection:
    """What the section shows. ``added``: sum or mean of her views; ``women``: in how many areas were measured."""

    rows: list[Row]
    figures: list[Markup]
    bands: tuple[str, ...]
    matrices: list[Matrix]
    added: str
    views: int
    women: int
    proxy: str


def burden(material: Material) -> BurdenSection | None:
    """What was measured in the evaluated fold, or None where nothing was."""
    folder = material.folder / "results"
    if not all((folder / f"{name}.csv").exists() for name in ("burden_agreement", "burden_bands", "women_burden")):
        return None
    agreement, bands, women = (_own(material, name) for name in ("burden_agreement", "burden_bands", "women_burden"))
    if women.empty:
        return None
    rows = [_row(material, row) for row in agreement.to_dict("records")]
    named = {str(source): ", ".join(filter(None, source_title(material, str(source)))) for source in women["source"].unique()}
    return BurdenSection(
        rows=rows,
        figures=[Markup(figure) for figure in bland_altman_figures(material, agreement, named)],
        bands=BANDS,
        matrices=[_matrix(material, str(source), part) for source, part in bands.groupby("source", sort=False)],
        added=material.protocol.burden.woman,
        views=int(women.groupby("source")["views"].sum().max()),
        women=int(women["woman"].nunique()),
        proxy=PROXY,
    )


def _own(material: Material, name: str) -> pd.DataFrame:
    """The table's rows of the evaluated fold, of analysed exams, and of sources that are still what they were measured of."""
    texts = {"woman": str, "exam": str}  # she may be called NA
    table = pd.read_csv(material.folder / "results" / f"{name}.csv", dtype=texts, keep_default_na=False, na_values=[""])
    if "analysed" in table:
        table = table[table["analysed"] == "yes"]
    return table[(table["fold"] == material.fold) & table["source"].map(lambda source: is_shown(material, source))]


def is_shown(material: Material, source: str) -> bool:
    """Whether a source is a run of this evaluation, by its weights, or no run at all."""
    kept = store.read_identity(calibration_file(material.folder / "results", source))
    if kept is None:
        return False
    if source.count("/") != 2:
        return True
    return bool(material.summary["runs"].get(source) == kept["maps"].get("weights"))


def source_title(material: Material, source: str) -> tuple[str, str]:
    """The title of a source, and its tag."""
    if source.count("/") != 2:
        return source.capitalize(), "trained on masks"
    network, variant, seed = source.split("/")
    several = len(material.protocol.training.seeds) > 1
    weights = RANDOM_WEIGHTS if variant.endswith("random-weights") else PRETRAINED
    shown = title(network) + (f", {seed.replace('-', ' ')}" if several else "")
    return shown, weights if weights == RANDOM_WEIGHTS else ""


def _row(material: Material, row: dict[Any, Any]) -> Row:
    name, tag = source_title(material, str(row["source"]))
    unit = "mm²" if row["unit"] == "mm" and row["measured"] == "area" else str(row["unit"])
    limits = ""
    if known(row["lower"]):
        limits = f"{signed(row['lower'], 1)} to {signed(row['upper'], 1)} {unit}"
    return Row(
        title=name,
        tag=tag,
        amount=AMOUNTS[str(row["of"]), str(row["measured"]), str(row["true"])],
        among=str(row["among"]),
        rho=_between(row, "rho", 2),
        bias=_between(row, "bias", 1),
        limits=limits,
        counts=f"{number(row['n'], 0)} of {number(row['women'], 0)} women",
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )


def _between(row: dict[Any, Any], name: str, decimals: int) -> str:
    """An estimate with its interval, empty where there is none."""
    if not known(row[name]):
        return ""
    value, low, high = (signed(row[key], decimals) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} ({low} to {high})" if low else value


def _matrix(material: Material, source: str, part: pd.DataFrame) -> Matrix:
    name, tag = source_title(material, source)
    by_true = part.set_index("true_band")
    rows = [(band, [int(by_true.loc[band, measured]) for measured in BANDS]) for band in BANDS]
    agreeing = sum(counts[place] for place, (_, counts) in enumerate(rows))
    return Matrix(name, tag, rows, agreeing, sum(sum(counts) for _, counts in rows))
