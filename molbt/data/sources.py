"""Data that is at hand: real molecules and activities inside RDKit's wheel, and the folder of larger public sets."""

import logging
import os
from pathlib import Path

import pandas as pd
from rdkit import RDConfig

from molbt.data.files import cache_directory
from molbt.data.molecules import ParsePolicy, canonical_smiles, parse_molecules
from molbt.data.tables import numeric_column, read_table, require_column
from molbt.errors import DataError

logger = logging.getLogger(__name__)

DATA_VARIABLE = "MOLBT_DATA"
"""Environment variable that names the data folder."""


def embedded_molecules() -> pd.DataFrame:
    """Return real molecules that arrive with RDKit: 4,999 NCI compounds, and the 10,000 of a collection its PAINS filters are tested on.

    Returns
    -------
    DataFrame
        Columns ``smiles`` (as in the files) and ``source`` (``nci`` or ``wehi``): distinct molecules in the order of the files, the first
        SMILES of each. Rows that RDKit cannot read are left out; it says how many in this module's log.

    Raises
    ------
    DataError
        If this build of RDKit has no data files.

    References
    ----------
    Saubern, Guha and Baell, "KNIME Workflow to Assess PAINS Filters in SMARTS Format", Mol. Inform. 2011, 30, 847,
    https://doi.org/10.1002/minf.201100076 (the source that RDKit names for its folder ``Data/Pains``)
    """
    nci = read_table(_rdkit_file(RDConfig.RDDataDir, "NCI", "first_5K.smi")).frame["smiles"]
    # The file has no header line: its columns are SMILES and compound number.
    wehi = pd.read_csv(_rdkit_file(RDConfig.RDDataDir, "Pains", "test_data", "wehi_mols.csv"), header=None, dtype="str")[0]
    frame = pd.concat([pd.DataFrame({"smiles": nci, "source": "nci"}), pd.DataFrame({"smiles": wehi, "source": "wehi"})], ignore_index=True)
    canonical = [None if mol is None else canonical_smiles(mol) for mol, _ in parse_molecules(frame["smiles"], ParsePolicy())]
    frame["canonical"] = canonical
    readable = frame.dropna(subset="canonical")
    distinct = readable.drop_duplicates("canonical").drop(columns="canonical").reset_index(drop=True)
    logger.info(
        "embedded molecules: %d rows, %d not readable, %d repeats, %d distinct",
        len(frame),
        len(frame) - len(readable),
        len(readable) - len(distinct),
        len(distinct),
    )
    return distinct


def embedded_activities() -> pd.DataFrame:
    """Return a measured activity series that arrives with RDKit: 1,017 compounds named after CHEMBL2321810.

    Returns
    -------
    DataFrame
        Columns ``smiles``, ``name`` and ``activity`` (float64, from 4.27 to 9.22; the files give no unit, RDKit's example of a Free–Wilson
        analysis treats the values as pIC50, −log10 of mol/L).

    Raises
    ------
    DataError
        If this build of RDKit has no Contrib folder, or the two files do not fit together.
    """
    folder = (RDConfig.RDContribDir, "FreeWilson", "data")
    molecules = read_table(_rdkit_file(*folder, "CHEMBL2321810.smi"))
    measured = read_table(_rdkit_file(*folder, "CHEMBL2321810_act.csv"))
    require_column(measured.frame, "Name", measured.source, "the version of RDKit")
    activity = pd.Series(numeric_column(measured, "Act", option="the version of RDKit"), index=measured.frame["Name"])
    names = molecules.frame["name"]
    if names.duplicated().any() or activity.index.duplicated().any() or not names.isin(activity.index).all():
        raise DataError(f"expected one activity for each compound of {molecules.source} in {measured.source}; install RDKit again")
    return molecules.frame.assign(activity=activity.loc[names].to_numpy())


def data_dir(explicit: str | Path | None = None) -> Path:
    """Return the folder of the larger public data sets.

    Parameters
    ----------
    explicit : str or Path, optional
        What the user named. Without it: the environment variable ``MOLBT_DATA``, then ``../shared/data`` beside the working directory or
        the project, then the folder that ``molbt data get`` fills.

    Raises
    ------
    DataError
        If what was named is no folder, or nothing was named and there is none.
    """
    found = find_data_dir(explicit)
    if found is None:
        places = f"{_beside()[0]}, {_beside()[1]} or {own_data_dir()}"
        raise DataError(f"found no data folder at {places}; pass --data-dir FOLDER, set {DATA_VARIABLE}, or run: molbt data get NAME")
    return found


def find_data_dir(explicit: str | Path | None = None) -> Path | None:
    """Return the folder as `data_dir` does, or None where nothing was named and there is none."""
    for given, origin in ((explicit, "--data-dir"), (os.environ.get(DATA_VARIABLE), f"the environment variable {DATA_VARIABLE}")):
        if given:
            if not Path(given).is_dir():
                raise DataError(f"expected a folder at {given}, named by {origin}, found none; correct the path")
            return Path(given)
    return next((place for place in (*_beside(), own_data_dir()) if place.is_dir()), None)


def own_data_dir() -> Path:
    """Return the folder that ``molbt data get`` fills where there is no other: ``data`` in the cache directory."""
    return cache_directory() / "data"


def _beside() -> list[Path]:
    return [start.parent / "shared" / "data" for start in (Path.cwd(), Path(__file__).resolve().parents[2])]


def _rdkit_file(*parts: str) -> Path:
    path = Path(*parts)
    if not path.is_file():
        raise DataError(f"this build of RDKit lacks {path}, which its wheels carry; run: pip install --force-reinstall rdkit")
    return path
