"""Labels of the target columns of a table, by the policy of ``make_labels``: what ``fit`` learns from and ``evaluate table`` judges on."""

from collections.abc import Container, Sequence

from molbt.data.tables import Table, require_column
from molbt.errors import ConfigError, DataError
from molbt.predict.label_policy import LabelPolicy
from molbt.predict.labels import Labels, make_labels


def table_labels(
    table: Table, targets: Sequence[str], smiles: Sequence[object], policy: LabelPolicy, *, relation_columns: Sequence[str] = ()
) -> list[Labels]:
    """Return the labels of each target.

    Parameters
    ----------
    table : Table
    targets : sequence of str
        Columns.
    smiles : sequence of n str
        What was measured in each row.
    policy : LabelPolicy
    relation_columns : sequence of str, optional
        Columns of ``<``, ``>``, ``=``, ``~`` beside the targets, one for each.

    Raises
    ------
    ConfigError
        If a target is named twice, or there are relation columns for some targets only.
    DataError
        If a column is missing, or leaves no label.
    """
    if not targets or len(set(targets)) < len(targets):
        raise ConfigError(
            f"expected one or more different target columns, received {', '.join(targets) or 'none'}; name each once (--target)"
        )
    if relation_columns and len(relation_columns) != len(targets):
        raise ConfigError(
            f"expected a relation column for each of {len(targets)} targets, received {len(relation_columns)} (--relation-column)"
        )
    for names, option in ((targets, "--target"), (relation_columns, "--relation-column")):
        for name in names:
            require_column(table.frame.columns, name, table.source, option)
    marks = {name: table.frame[beside].tolist() for name, beside in zip(targets, relation_columns, strict=False)}
    return [make_labels(table.frame[name].tolist(), smiles, policy, name=name, relations=marks.get(name)) for name in targets]


def learnable_labels(labels: Sequence[Labels]) -> tuple[list[Labels], list[Labels]]:
    """Return the targets that can be learned, and those that cannot (``Labels.problem``).

    Raises
    ------
    DataError
        If none can.
    """
    learnable, others = ([entry for entry in labels if bool(entry.problem) == has_problem] for has_problem in (False, True))
    if not learnable:
        problems = "; ".join(f"{entry.name!r}: {entry.problem}" for entry in others)
        raise DataError(
            f"no target can be learned: {problems}; label more molecules, of both classes, move the threshold if there is one, or name "
            "another column (--target)"
        )
    return learnable, others


def named_columns(text: str, columns: Container[str]) -> list[str]:
    """Return the columns that a text such as ``a,b`` names; a column whose name has a comma may be named on its own."""
    return [text] if text in columns else [name.strip() for name in text.split(",")]
