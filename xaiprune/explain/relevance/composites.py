"""Composites: which layer follows which rule, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ...core import Registry, choice
from .ledger import _Entry
from .rules import BIASES, PixelRule, Rule, alpha_beta, epsilon, flat, gamma, w_plus, z_box, z_plus


@dataclass(frozen=True)
class Where:
    """Which layers a row of a composite is for: all conditions must hold.

    Attributes
    ----------
    kind : {"convolution", "dense"}, optional
    name : str
        Pattern of the layer's qualified name, as ``"features.*"``.
    depth : tuple of float
        From and to, as a share of the layers: 0 at the input, 1 at the output; both ends belong.
    first : bool
        Only layers that read the pixels themselves.
    """

    kind: str | None = None
    name: str = "*"
    depth: tuple[float, float] = (0.0, 1.0)
    first: bool = False

    def holds(self, entry: _Entry, layers: int) -> bool:
        """Whether a layer is meant.

        Parameters
        ----------
        entry : Entry
            The layer, as it was met in the forward pass.
        layers : int
            How many layers there are in all.

        Returns
        -------
        bool
        """
        depth = entry.place / max(1, layers - 1)
        return (
            self.kind in (None, entry.kind)
            and fnmatchcase(entry.name, self.name)
            and self.depth[0] <= depth <= self.depth[1]
            and (entry.first or not self.first)
        )


@dataclass(frozen=True)
class Composite:
    """Rules for the layers of a model: the first row that fits a layer decides.

    Attributes
    ----------
    name : str
    rows : tuple of (Where, Rule)
        The last row must be for all layers.
    attention : bool
        Whether relevance passes on to what attention compared, its queries and keys. If not, its weights count as
        given, and all relevance goes to the values.
    bias : {"absorb", "zero", "redistribute"}
        What becomes of the relevance of biases, those of folded batch normalisation and of layer normalisation among
        them. ``"absorb"``: it ends there, and the ledger tells how much it was: in deep networks nearly all.
        ``"zero"``: each output's sum of contributions leaves the bias out, as with zennit's ``zero_params="bias"``.
        What only a bias made stays with it; and where contributions cancel, as under epsilon and gamma, sums come near
        zero and relevance explodes. ``"redistribute"``: what a layer's biases have goes to all inputs of the layer, in
        proportion to the sizes of the relevance that they have, so that it all arrives. Under both the ledger tells
        what would have been the biases'. Other constants, such as a transformer's positions, keep what they have.
    """

    name: str
    rows: tuple[tuple[Where, Rule | PixelRule], ...]
    attention: bool = False
    bias: str = "absorb"

    def __post_init__(self):
        choice(self.bias, f"composite {self.name!r}: bias", BIASES)
        if not self.rows or self.rows[-1][0] != Where():
            raise ValueError(f"composite {self.name!r}: the last row must be (Where(), rule), for all other layers.")
        for where, rule in self.rows:
            if isinstance(rule, PixelRule) and not where.first:
                raise ValueError(f"composite {self.name!r}: {rule.name} is for pixels; say Where(first=True).")

    def rule(self, entry: _Entry, layers: int) -> Rule | PixelRule:
        """The rule that a layer follows.

        Parameters
        ----------
        entry : Entry
            The layer, as it was met in the forward pass.
        layers : int
            How many layers there are in all.

        Returns
        -------
        Rule or PixelRule
            Of the first row whose ``Where`` holds, with the composite's treatment of biases.
        """
        rule = next(rule for where, rule in self.rows if where.holds(entry, layers))
        return rule if self.bias == "absorb" or isinstance(rule, PixelRule) else rule.with_bias(self.bias)

    def with_bias(self, bias: str) -> Composite:
        """The same rules with another treatment of biases.

        Parameters
        ----------
        bias : {"absorb", "zero", "redistribute"}

        Returns
        -------
        Composite
            Its name tells a treatment other than ``"absorb"``.

        Raises
        ------
        ValueError
            For another treatment.

        Examples
        --------
        Of a logit of 3.5 the bias has 0.5, until the pixels get it:

        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1)).eval()
        >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0]])), model[1].bias.data.fill_(0.5)
        >>> absorb = xp.explain.relevance.COMPOSITES["epsilon-plus"]
        >>> for composite in (absorb, absorb.with_bias("redistribute")):
        ...     heatmaps = xp.explain.lrp(model, torch.ones(1, 1, 1, 2), composite=composite)
        ...     print(composite.name, heatmaps.round(decimals=2))
        epsilon-plus tensor([[[1., 2.]]])
        epsilon-plus, bias redistribute tensor([[[1.1700, 2.3300]]])
        """
        name = self.name.removesuffix(f", bias {self.bias}")
        return replace(self, name=name if bias == "absorb" else f"{name}, bias {bias}", bias=bias)

    @property
    def of_pixels(self) -> bool:
        """Whether a rule for pixels is among the rows."""
        return any(isinstance(rule, PixelRule) for _, rule in self.rows)


_ALL, _CONVOLUTIONS, _FIRST = Where(), Where("convolution"), Where(first=True)


def uniform(rule: Rule) -> Composite:
    """The same rule for all layers.

    Parameters
    ----------
    rule : Rule

    Returns
    -------
    Composite
        Of one row, named after the rule.
    """
    return Composite(rule.name, ((_ALL, rule),))


COMPOSITES: Registry[Composite] = Registry(
    "a composite",
    Composite,
    (
        uniform(epsilon(0)),
        uniform(epsilon()),
        uniform(gamma()),
        uniform(z_plus()),
        uniform(w_plus()),
        uniform(alpha_beta()),
        Composite("cp-lrp", ((_ALL, epsilon()),)),
        Composite("cp-lrp-gamma", ((_CONVOLUTIONS, gamma(0.25)), (_ALL, gamma(0.05)))),
        Composite("attnlrp", ((_ALL, epsilon()),), attention=True),
        Composite("attnlrp-gamma", ((_CONVOLUTIONS, gamma(0.25)), (_ALL, gamma(0.05))), attention=True),
        Composite("attnlrp-plus", ((_ALL, z_plus()),), attention=True),
        Composite("epsilon-plus", ((_CONVOLUTIONS, z_plus()), (_ALL, epsilon()))),
        Composite("epsilon-plus-flat", ((_FIRST, flat()), (_CONVOLUTIONS, z_plus()), (_ALL, epsilon()))),
        Composite("epsilon-plus-box", ((_FIRST, z_box()), (_CONVOLUTIONS, z_plus()), (_ALL, epsilon()))),
        Composite("epsilon-gamma-box", ((_FIRST, z_box()), (_CONVOLUTIONS, gamma()), (_ALL, epsilon()))),
        Composite("epsilon-alpha-beta", ((_CONVOLUTIONS, alpha_beta()), (_ALL, epsilon()))),
    ),
)
