"""The model card: what a person who finds a model directory needs to know before using it."""

import re
from collections.abc import Mapping
from typing import Any

RESULTS_HEADING = "## Benchmark results"
_VERSIONS_HEADING = "## Versions and checksum"

_SEEN = "A record of the molecules and scaffolds that it saw (`seen_*.npy`, hashes) lies beside the weights; `molbt evaluate` reads it."
# Told in sentences of their own, so not listed again.
_IN_SENTENCES = ("excluded", "excluded_values", "licence_of_the_data", "loss_shares", "embedding_rank", "versions")


def model_card(config: Mapping[str, Any], *, n_parameters: int) -> str:
    """Return the card of a model, in Markdown.

    Parameters
    ----------
    config : mapping
        The model's ``config.json``: ``run_config``, ``facts``, ``molbt_version`` and ``sha256``. Facts that are not there are left out.
    n_parameters : int
        Of the encoders.
    """
    run, facts = config["run_config"], config["facts"]
    trained = "control" not in facts
    return f"""# A molbt encoder

Embeddings of width {run["encoder"]["embedding_dim"]}; {n_parameters:,} parameters in the encoders.

## Intended use
Frozen features of small organic molecules for supervised heads on a user's own measurements, beside plain fingerprints and compared
with them. Not meant for deciding on the safety or the use of a substance, nor for molecules unlike those it was trained on
(proteins, polymers, materials).

```python
from molbt import MoleculeFeaturizer

features = MoleculeFeaturizer("path/to/this/directory").fit_transform(["CCO", "c1ccccc1O"])
```

## Views
{_views(run)}

## Training
{_objectives(run, facts)}
{_facts(facts)}

## Data and overlaps
{_data(facts, has_record=trained)}

## Limits
Whether these features help a task is an open question until a table with controls answers it:
`molbt evaluate table FILE --target COLUMN --model DIRECTORY` prints the same task with plain fingerprints, descriptors,
a principal-component analysis of the encoder's inputs and the same encoder untrained.
Stereochemistry, charge and tautomers count only as far as the views above tell them apart. What the encoder learned reflects the
molecules it was trained on: series and scaffolds that are rare there are represented less well.

## How to cite
Cite molbt (`CITATION.cff`) and the paper of each objective:{_references(run)}

{_VERSIONS_HEADING}
{_versions(config)}
"""


def with_results(card: str, results: str) -> str:
    """Return a card whose section of benchmark results is replaced by these, or added at the end.

    Parameters
    ----------
    card : str
    results : str
        Plain text, shown as it is.
    """
    section = f"{RESULTS_HEADING}\n```text\n{results.strip()}\n```\n"
    pattern = rf"^{RESULTS_HEADING}\n```text\n.*?\n```\n"
    if re.search(pattern, card, flags=re.DOTALL | re.MULTILINE):
        return re.sub(pattern, lambda _: section, card, count=1, flags=re.DOTALL | re.MULTILINE)
    return f"{card.rstrip()}\n\n{section}"


def with_versions(card: str, config: Mapping[str, Any]) -> str:
    """Return a card that was written for a model, by hand perhaps, for a copy of it: its versions and checksum are those of the copy.

    Parameters
    ----------
    card : str
    config : mapping
        As for ``model_card``, of the copy.
    """
    section = f"{_VERSIONS_HEADING}\n{_versions(config)}\n"
    pattern = rf"^{_VERSIONS_HEADING}\n.*?(\n(?=## )|\Z)"
    if re.search(pattern, card, flags=re.DOTALL | re.MULTILINE):
        return re.sub(pattern, lambda found: section + found[1], card, count=1, flags=re.DOTALL | re.MULTILINE)
    return f"{card.rstrip()}\n\n{section}"


def _views(run: Mapping[str, Any]) -> str:
    return "\n".join(f"- `{name}`: {_view(view)}" for name, view in run["views"].items())


def _view(view: Mapping[str, Any]) -> str:
    told = {key: view[key] for key in ("kinds", "counts", "width", "drop", "mask") if view.get(key) not in (None, 0.0)}
    described = ", ".join(f"{key} {' + '.join(value) if isinstance(value, list) else value}" for key, value in told.items())
    return f"{view['modality']} of column `{view['column']}`" + (f" ({described})" if described else "")


def _objectives(run: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    own = ("name", "weight", "pairs")
    lines = []
    for objective in run["objectives"]:
        settings = ", ".join(f"{key} {value}" for key, value in objective.items() if key not in own and value is not None)
        lines.append(f"- objective {objective['name']}, weight {objective['weight']:g}" + (f" ({settings})" if settings else ""))
    shares = facts.get("loss_shares")
    if shares:
        lines.append("- share of the loss in the last epoch: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    elif len(run["objectives"]) == 1:
        lines.append(f"- {run['objectives'][0]['name']} is the only objective: the whole loss is its own")
    if ranks := facts.get("embedding_rank"):
        told = ", ".join(f"view {view} {rank:g}" for view, rank in ranks.items())
        lines.append(f"- effective rank of the embedding, of {run['encoder']['embedding_dim']}: {told}")
    return "\n".join(lines)


def _facts(facts: Mapping[str, Any]) -> str:
    listed = [f"- {name.replace('_', ' ')}: {_value(value)}" for name, value in facts.items() if name not in _IN_SENTENCES]
    return "\n".join(listed) or "- not recorded"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _data(facts: Mapping[str, Any], *, has_record: bool) -> str:
    lines = [f"- licence of the data: {facts.get('licence_of_the_data', 'not stated')}"]
    if excluded := facts.get("excluded"):
        lines.append(f"- molecules of {', '.join(excluded)} were excluded from training: {facts['excluded_values']:,} values of the source")
    else:
        lines.append("- no molecules are recorded as excluded: results on a set whose molecules it saw are not clean")
    return "\n".join([*lines, f"- {_SEEN}"] if has_record and "samples_seen" in facts else lines)


def _references(run: Mapping[str, Any]) -> str:
    known = {
        "barlow_twins": "Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, ICML 2021, "
        "https://arxiv.org/abs/2103.03230",
        "multitask": "Ma et al., Deep Neural Nets as a Method for Quantitative Structure–Activity Relationships, J. Chem. Inf. Model. 55, "
        "2015, https://doi.org/10.1021/ci500747n",
    }
    found = [known[name] for name in dict.fromkeys(objective["name"] for objective in run["objectives"]) if name in known]
    return "".join(f"\n- {reference}" for reference in found) or " see the documentation of its module."


def _versions(config: Mapping[str, Any]) -> str:
    versions = {**config["facts"].get("versions", {}), "molbt": config["molbt_version"]}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Written by {told}; weights (`model.safetensors`) SHA-256 `{config['sha256']}`."
