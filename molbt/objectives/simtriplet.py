"""SimTriplet: SimSiam over two augmentations of a sample and a neighbour of it."""

from collections.abc import Mapping, Sequence

from molbt.errors import ConfigError
from molbt.objectives.base import Twin
from molbt.objectives.simsiam import SimSiam


class SimTriplet(SimSiam):
    """``L = ½ [D(p_1, z_2) + D(p_2, z_1)] + ½ [D(p_1, z_3) + D(p_3, z_1)]``: two SimSiam terms that share view 1.

    View 3 shows a neighbour of the sample: in the paper an adjacent patch; for molecules another conformer, tautomer or analogue that a
    column names. The pairs are a star: every pair has the first view of the first, for example ``[[a, b], [a, neighbour]]``. The loss is
    unchanged when 2 and 3 are swapped.

    Parameters
    ----------
    hidden, constant_rate
        Those of ``simsiam``.

    Raises
    ------
    ConfigError
        On ``build``, if the pairs are not two or more around one view.

    Notes
    -----
    Terms: those of ``simsiam``, averaged over the pairs. The authors' norm behind the projector has scale and shift; ours, as SimSiam's,
    has none.

    References
    ----------
    Liu et al., "SimTriplet: Simple Triplet Representation Learning with a Single GPU", MICCAI 2021, https://arxiv.org/abs/2103.05585
    """

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        centre = pairs[0][0]
        if len(pairs) < 2 or any(pair[0] != centre for pair in pairs):
            raise ConfigError(
                f"objective 'simtriplet' expects two or more pairs that begin with one view, received {[list(pair) for pair in pairs]}; "
                f"for example pairs: [[{centre}, b], [{centre}, neighbour]]"
            )
        super().build(twin, pairs=pairs, n_tasks=n_tasks)
