"""What a prediction of a fitted method on pairs rests on."""

from molbt.errors import InvalidMoleculeError
from molbt.evaluation.zero_shot.methods.lightgbm_pairs import LightgbmPairs
from molbt.evaluation.zero_shot.methods.lightgbm_twin import LightgbmTwin
from molbt.predict.pair_explanation import PairExplanation, explain_pairs


def explain_pair(method: LightgbmPairs | LightgbmTwin, smiles: str, text: str, *, n: int = 5) -> PairExplanation:
    """Return what a fitted method's prediction of a molecule in an assay rests on.

    Parameters
    ----------
    method : LightgbmPairs or LightgbmTwin
        Fitted.
    smiles, text : str
    n : int
        Training pairs and assays to return.

    Raises
    ------
    InvalidMoleculeError
        If the molecule cannot be used.
    """
    [found] = explain_pairs(method.boosted, method.pair_features([smiles], text), n=n)
    if found is None:
        raise InvalidMoleculeError(f"expected a molecule that can be explained, received {smiles!r}, which has no features; correct it")
    return found
