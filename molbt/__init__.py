"""molbt: domain-adapted molecular self-supervised learning.

Public names are imported on first use; ``import molbt`` itself loads neither torch nor rdkit nor scikit-learn.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from molbt.config import RunConfig
    from molbt.featurizer import MoleculeFeaturizer
    from molbt.model.checkpoint import from_pretrained, save_pretrained
    from molbt.model.twin_model import TwinModel
    from molbt.pair_featurizer import PairFeaturizer
    from molbt.predict.predictor import Predictor
    from molbt.text_adaptation.adapt import adapt_text
    from molbt.training.trainer import RunResult, pretrain

__version__ = "0.1.0"

_MODULE_OF = {
    "MoleculeFeaturizer": "molbt.featurizer",
    "PairFeaturizer": "molbt.pair_featurizer",
    "Predictor": "molbt.predict.predictor",
    "RunConfig": "molbt.config",
    "RunResult": "molbt.training.trainer",
    "TwinModel": "molbt.model.twin_model",
    "adapt_text": "molbt.text_adaptation.adapt",
    "from_pretrained": "molbt.model.checkpoint",
    "pretrain": "molbt.training.trainer",
    "save_pretrained": "molbt.model.checkpoint",
}

__all__ = [
    "MoleculeFeaturizer",
    "PairFeaturizer",
    "Predictor",
    "RunConfig",
    "RunResult",
    "TwinModel",
    "__version__",
    "adapt_text",
    "from_pretrained",
    "pretrain",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'molbt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
