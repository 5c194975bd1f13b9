"""Criteria for single weights: closed forms, since there are too many of them to try one by one."""

# In stored tables: criteria of weights

from __future__ import annotations

import torch

from ....curvature import gauss_newton_diagonal, gradient_moments, hessian_diagonal
from ....training import classification_loss
from .. import obd_obs
from .evidence import Evidence


def _taylor(evidence: Evidence) -> dict[str, torch.Tensor]:
    """First-order change of the loss when the weight goes: ``|w| mean_n |g_n|``, with g_n the gradient of image n."""
    return _scaled(evidence, power=1, factor=1)


def _fisher(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Second-order change of the loss: ``w^2 mean_n g_n^2 / 2``, the empirical Fisher for the Hessian's diagonal."""
    return _scaled(evidence, power=2, factor=0.5)


def obd(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Optimal Brain Damage, ``h w^2 / 2`` with the Hessian's diagonal.

    For cross-entropy it is the Gauss-Newton matrix's, as LeCun, Denker and Solla approximate it, which is exact for
    networks of ReLUs; for another loss Hutchinson's estimate from 100 probes.
    """
    model, data, names = evidence.model, evidence.data, _names(evidence)
    if evidence.loss is classification_loss:
        diagonal = gauss_newton_diagonal(model, data, names=names)
    else:
        diagonal = hessian_diagonal(model, data, evidence.loss, probes=100, names=names, seed=evidence.seed)
    return _flat(obd_obs.obd(model, diagonal).values)


def obs(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Optimal Brain Surgeon, weight by weight, on the block-diagonal empirical Fisher."""
    inverse = obd_obs.inverse_fisher(evidence.model, evidence.data, evidence.loss, names=_names(evidence))
    return _flat(obd_obs.obs_in_turn(evidence.model, inverse))


def _scaled(evidence: Evidence, power: int, factor: float) -> dict[str, torch.Tensor]:
    names, weights = _names(evidence), _weights(evidence)
    moments = gradient_moments(evidence.model, evidence.data, evidence.loss, power=power, names=names)
    return {name: factor * weights[name].abs().pow(power) * moments[name].flatten() for name in names}


def _names(evidence: Evidence) -> list[str]:
    return [group.name for group in evidence.groups]


def _weights(evidence: Evidence) -> dict[str, torch.Tensor]:
    """Weights of each group, float64, shape ``(units,)``."""
    parameters = dict(evidence.model.named_parameters())
    return {name: parameters[name].detach().double().flatten() for name in _names(evidence)}


def _flat(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.flatten() for name, value in values.items()}
