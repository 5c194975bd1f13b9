"""The rules of layer-wise relevance propagation, as data.

A layer computes ``z_j = sum_i x_i w_ij + b_j``, and its output j has relevance ``R_j``. A rule says how ``R_j`` is
divided among the contributions ``x_i w_ij``: in proportion to them, after those that are positive and those that are
negative have been weighted by two factors. That is all that tells the rules apart:

====================  =======================================  ==========================================
rule                  weight of positive, negative parts       source
====================  =======================================  ==========================================
epsilon               1, 1                                     Bach et al. 2015
gamma                 1 + gamma, 1 (for outputs above zero)    Montavon et al. 2019, section 10.2.1
z-plus                1, 0                                     Montavon et al. 2017, deep Taylor decomposition
alpha-beta            alpha times (1, 0) less beta times (0, 1)  Bach et al. 2015
====================  =======================================  ==========================================

For outputs below zero gamma favours the negative contributions instead, so that the rule holds for inputs of both
signs. Two more rules are for the first layer, whose inputs are pixels: z-box (Montavon et al. 2017), for pixels in a
known range, and flat (Lapuschkin et al. 2019), which divides evenly over the layer's field of view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

#: What can become of the relevance of a layer's bias.
BIASES = ("absorb", "zero", "redistribute")
#: Added to the size of sums that leave a bias out, which can come near zero where the output does not: as in zennit.
_STABILIZER = 1e-6


@dataclass(frozen=True)
class Part:
    """One division of relevance.

    Attributes
    ----------
    positive, negative : float
        Weights of positive and of negative contributions.
    outputs : {0, 1, -1}
        Which outputs it is for: all, those above zero, those below.
    times : float
        Share of the relevance that it divides.
    mirror : bool
        Whether ``positive`` and ``negative`` are about contributions, so that a negative input times a negative weight
        is positive. If False they are about weights, whatever the sign of the input.
    bias : bool
        Whether the bias counts as a contribution, whatever the treatment of biases.
    """

    positive: float
    negative: float
    outputs: int = 0
    times: float = 1.0
    mirror: bool = True
    bias: bool = True


@dataclass(frozen=True)
class Rule:
    """How a layer passes relevance on to its inputs.

    Attributes
    ----------
    name : str
    parts : tuple of Part
    epsilon : float
        Added to the size of the sum of contributions before it divides; what that takes away is lost.
    bias : {"absorb", "zero", "redistribute"}
        What becomes of the bias's relevance: see :class:`Composite`.
    """

    name: str
    parts: tuple[Part, ...]
    epsilon: float = 0.0
    bias: str = "absorb"

    def with_bias(self, bias: str) -> Rule:
        """The same rule with another treatment of biases.

        Parameters
        ----------
        bias : {"absorb", "zero", "redistribute"}

        Returns
        -------
        Rule
            For ``"zero"`` its epsilon is at least :data:`_STABILIZER`.
        """
        return replace(self, bias=bias, epsilon=max(self.epsilon, _STABILIZER * (bias == "zero")))


@dataclass(frozen=True)
class PixelRule:
    """A rule for the first layer: what it gives is the pixels' relevance, not activation x gradient.

    Attributes
    ----------
    name : str
    low, high : float or None
        Range of the pixels; None for the flat rule, which does not look at them.
    """

    name: str
    low: float | None = None
    high: float | None = None


def epsilon(epsilon: float = 1e-6) -> Rule:
    """In proportion to the contributions; epsilon takes from outputs near zero and damps noise.

    Parameters
    ----------
    epsilon : float
        Not negative. At 0 the relevance of a network of ReLUs is input x gradient.

    Returns
    -------
    Rule

    Raises
    ------
    ValueError
        If it is negative.
    """
    _check("epsilon", epsilon, "0 or more", epsilon >= 0)
    return Rule(f"epsilon {epsilon:g}", (Part(1, 1),), epsilon)


def gamma(gamma: float = 0.25) -> Rule:
    """Contributions of the output's own sign count 1 + gamma times; the larger gamma, the nearer to z-plus.

    Parameters
    ----------
    gamma : float
        Not negative.

    Returns
    -------
    Rule

    Raises
    ------
    ValueError
        If it is negative.
    """
    _check("gamma", gamma, "0 or more", gamma >= 0)
    return Rule(f"gamma {gamma:g}", (Part(1 + gamma, 1, outputs=1), Part(1, 1 + gamma, outputs=-1)))


def z_plus() -> Rule:
    """Only positive contributions count.

    Returns
    -------
    Rule
    """
    return Rule("z-plus", (Part(1, 0),))


def w_plus() -> Rule:
    """Only positive weights count, and no bias, as z-plus is often written; below zero relevance changes its sign.

    Returns
    -------
    Rule
    """
    return Rule("w-plus", (Part(1, 0, mirror=False, bias=False),))


def alpha_beta(alpha: float = 2.0, beta: float = 1.0) -> Rule:
    """Positive contributions get alpha times the relevance, negative ones lose beta times of it.

    Parameters
    ----------
    alpha, beta : float
        Not negative, with ``alpha - beta = 1``, without which relevance would not be conserved.

    Returns
    -------
    Rule

    Raises
    ------
    ValueError
        For other values.
    """
    _check("alpha - beta", alpha - beta, "1", math.isclose(alpha - beta, 1))
    _check("beta", beta, "0 or more", beta >= 0)
    parts = (Part(1, 0, times=alpha), Part(0, 1, times=-beta))
    return Rule(f"alpha-beta {alpha:g} {beta:g}", parts if beta else parts[:1])


def z_box(low: float = 0.0, high: float = 1.0) -> PixelRule:
    """For pixels between two bounds: each counts by how far it is from the bound that its weight pulls it to.

    Parameters
    ----------
    low, high : float
        Bounds of the pixels.

    Returns
    -------
    PixelRule

    Raises
    ------
    ValueError
        If ``low`` is not below ``high``.
    """
    _check("low, high", (low, high), "low below high", low < high)
    return PixelRule("z-box", low, high)


def flat() -> PixelRule:
    """Every pixel that an output sees gets the same share.

    Returns
    -------
    PixelRule
    """
    return PixelRule("flat")


def _check(name: str, value, allowed: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value}.")
