"""What a student is asked for: distances between what it gives and what its teacher gives, for one batch.

Every function takes the student's tensor first and the teacher's second, and returns a scalar that is a mean over
images. ``LOSSES`` has them by name, with what they read.
"""

# In stored tables: distillation

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..core import Registry
from ..measure import answer_rows


def soft_targets(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float = 4.0, *, class_axis: int | None = None
) -> torch.Tensor:
    """``T^2 KL(p || q)`` with ``p = softmax(teacher / T)``, ``q = softmax(student / T)``.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2. The gradient of KL falls with 1 / T^2; the factor keeps
    its size beside that of the labels. Of maps and sequences it is the mean over all places and steps, as
    cross-entropy is; of one logit z it is the divergence of two classes with the logits ``[0, z]``.

    Parameters
    ----------
    student, teacher : torch.Tensor
        Logits, shape ``(N, classes)``, or another one that ``measure.answer_rows`` knows: ``(N,)`` and ``(N, 1)`` of
        one logit, ``(N, C, H, W)``, ``(N, T, C)``.
    temperature : float
        T > 0.
    class_axis : int, optional
        As for ``measure.answer_rows``: 1 for sequences ``(N, C, T)``.

    Returns
    -------
    torch.Tensor
        A scalar, 0 for equal logits.

    Examples
    --------
    >>> student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    >>> round(xp.distill.soft_targets(student, teacher, 1.0).item(), 3)  # 0.9 log(0.9 / 0.5) + 0.1 log(0.1 / 0.5)
    0.368
    """
    student, teacher = _rows(student, teacher, class_axis)
    wanted, found = F.log_softmax(teacher / temperature, dim=1), F.log_softmax(student / temperature, dim=1)
    return temperature**2 * F.kl_div(found, wanted, reduction="batchmean", log_target=True)


def _rows(student: torch.Tensor, teacher: torch.Tensor, class_axis: int | None = None) -> tuple:
    """Logits as rows: shapes ``(M, classes)``."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must give outputs of one shape, got {tuple(student.shape)}, {tuple(teacher.shape)}."
        )
    return tuple(answer_rows(each, class_axis=class_axis).logits for each in (student, teacher))


def size_against_limit(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """How far soft targets still are from matching logits: the size of their gradient over that for T to infinity.

    For large T the gradient of ``T^2 KL`` goes to ``(student - teacher) / classes``, each less its mean: that of half
    the squared distance of logits, over the classes (Hinton, Vinyals and Dean 2015, section 2.1, equations 2 to 4).

    Parameters
    ----------
    student, teacher : torch.Tensor
        Logits, shape ``(N, classes)``.
    temperature : float

    Returns
    -------
    torch.Tensor
        Shape ``(N,)``, float64; 1 is the limit.

    Examples
    --------
    >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0, 0.0]])
    >>> for temperature in (1, 10, 100):
    ...     print(temperature, round(xp.distill.size_against_limit(student, teacher, temperature).item(), 3))
    1 0.482
    10 0.987
    100 1.0
    """
    student, teacher = (each.double() for each in _rows(student, teacher))
    gradient = temperature * (F.softmax(student / temperature, dim=1) - F.softmax(teacher / temperature, dim=1))
    apart = student - teacher
    limit = (apart - apart.mean(1, keepdim=True)) / student.shape[1]
    return gradient.norm(dim=1) / limit.norm(dim=1)


def decoupled(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    temperature: float = 4.0,
    *,
    target: float = 1.0,
    others: float = 8.0,
) -> torch.Tensor:
    """``T^2 (a TCKD + b NCKD)``: the right class against all others, and the others among themselves.

    Zhao et al. 2022 (*Decoupled Knowledge Distillation*, arXiv 2203.08679), eq. 7. Soft targets are the same sum with
    a = 1 and b = 1 - p(right class): the surer the teacher, the less they say of the others (eq. 6).

    Parameters
    ----------
    student, teacher : torch.Tensor
        Logits, shape ``(N, classes)``.
    labels : torch.Tensor
        Shape ``(N,)``.
    temperature : float
    target, others : float
        a and b.

    Returns
    -------
    torch.Tensor
        A scalar, 0 for equal logits.

    Examples
    --------
    The student is as sure of the right class as the teacher, but not of the others:

    >>> student, teacher = torch.tensor([[0.8, 0.1, 0.1]]).log(), torch.tensor([[0.8, 0.18, 0.02]]).log()
    >>> for target, others in ((1, 0), (0, 1)):
    ...     found = xp.distill.decoupled(student, teacher, torch.tensor([0]), 1.0, target=target, others=others)
    ...     print(round(found.item(), 3))
    0.0
    0.368
    """
    labels = answer_rows(student, labels, name="labels").labels
    student, teacher = _rows(student, teacher)
    right = F.one_hot(labels, student.shape[1]).bool()
    binary, rest = [], []
    for logits in (student, teacher):
        cooled = F.log_softmax(logits / temperature, dim=1)
        wrong = cooled.masked_fill(right, -torch.inf)
        binary.append(torch.stack([cooled[right], wrong.logsumexp(1)], dim=1))
        rest.append(F.log_softmax(logits[~right].view(len(labels), -1) / temperature, dim=1))
    parts = (F.kl_div(*pair, reduction="batchmean", log_target=True) for pair in (binary, rest))
    return temperature**2 * sum(weight * part for weight, part in zip((target, others), parts))


def correlation(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float = 4.0,
    *,
    inter: float = 1.0,
    intra: float = 1.0,
) -> torch.Tensor:
    """``T^2 (b (1 - r over classes) + c (1 - r over images))``, r being Pearson's correlation of probabilities.

    Huang et al. 2022 (*DIST*, arXiv 2205.10536), eq. 8 to 10. It asks for the teacher's order and proportions, not for
    its values.

    Parameters
    ----------
    student, teacher : torch.Tensor
        Logits, shape ``(N, classes)``, N > 1.
    temperature : float
    inter, intra : float
        b, for every image over the classes, and c, for every class over the images of the batch.

    Returns
    -------
    torch.Tensor
        A scalar, 0 for equal logits.
    """
    found, wanted = (F.softmax(logits / temperature, dim=1) for logits in _rows(student, teacher))
    rows, columns = 1 - _pearson(found, wanted).mean(), 1 - _pearson(found.T, wanted.T).mean()
    return temperature**2 * (inter * rows + intra * columns)


def _pearson(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Correlation of rows."""
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1, eps=1e-8)


def hints(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``|teacher - student|^2 / 2``, a mean over the values of an image.

    Romero et al. 2015 (*FitNets*, arXiv 1412.6550), eq. 3, with the mean in place of the sum. The student's activations
    come through a 1x1 regressor, if they have other channels.

    Parameters
    ----------
    student, teacher : torch.Tensor
        Activations of one shape.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    return F.mse_loss(student, teacher) / 2


def attention(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``|Q_s / |Q_s| - Q_t / |Q_t||^2`` with ``Q`` the sum over channels of squared activations.

    Zagoruyko and Komodakis 2017 (arXiv 1612.03928), eq. 1 and 2, with the square of the norm. Maps have no channels, so
    that the student may have fewer.

    Parameters
    ----------
    student, teacher : torch.Tensor
        Activations, shapes ``(N, C, H, W)`` and ``(N, C', H, W)``.

    Returns
    -------
    torch.Tensor
        A scalar, 0 for maps in proportion.
    """
    maps = [F.normalize(values.square().sum(1).flatten(1), dim=1) for values in (student, teacher)]
    return (maps[0] - maps[1]).square().sum(1).mean()


def relevance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``|e_t - e_s|^2 / 2``, a mean over classes: e is what the logits lose when parts of an image are hidden.

    Heatmaps by occlusion and Shapley values are made of these losses and of nothing else, so that two models that agree
    in them for all parts have the same heatmaps. It is this kit's own. Of each image the mean over classes is taken
    off, which softmax does not see: it is the limit of soft targets for large T, for differences.

    Parameters
    ----------
    student, teacher : torch.Tensor
        Evidence, shape ``(N, classes)``.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    student, teacher = _rows(student, teacher)
    apart = student - teacher
    return (apart - apart.mean(1, keepdim=True)).square().mean() / 2


def hard_targets(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with the class that the teacher answers (Touvron et al. 2021, *DeiT*, arXiv 2012.12877, eq. 3).

    Parameters
    ----------
    student, teacher : torch.Tensor
        Logits, shape ``(N, classes)``.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    student, teacher = _rows(student, teacher)
    return F.cross_entropy(student, teacher.argmax(1))


@dataclass(frozen=True)
class Loss:
    """A row of ``LOSSES``.

    Attributes
    ----------
    function : callable
        ``(student, teacher, **needs) -> scalar``.
    reads : {"logits", "features", "evidence"}
        What of the two models it compares; features of every layer that is named, one after another.
    needs : tuple of str
        "labels", "temperature".
    free : int, optional
        Axis in which features may differ; None for none.
    regressed : bool
        Whether a student's features come through a 1x1 convolution where they have other channels.
    rows : bool
        Whether logits come as rows ``(M, classes)``, one for each place of a map and step of a sequence, with one logit
        as two; otherwise as the models give them.
    """

    function: Callable
    reads: str
    needs: tuple[str, ...] = ()
    free: int | None = None
    regressed: bool = False
    rows: bool = False

    def fits(self, student: Sequence[int], teacher: Sequence[int]) -> bool:
        """Whether tensors of these shapes can be compared.

        Parameters
        ----------
        student, teacher : sequence of int
            Shapes.

        Returns
        -------
        bool
        """
        shapes = [[size for axis, size in enumerate(shape) if axis != self.free] for shape in (student, teacher)]
        return shapes[0] == shapes[1]


#: What a student can be asked for; one of your own: ``LOSSES.add(Loss(function, "logits"), "mine")``.
LOSSES: Registry[Loss] = Registry(
    "a loss",
    Loss,
    [
        ("soft targets", Loss(soft_targets, "logits", ("temperature",), rows=True)),
        ("hard targets", Loss(hard_targets, "logits", rows=True)),
        ("decoupled", Loss(decoupled, "logits", ("labels", "temperature"), rows=True)),
        ("correlation", Loss(correlation, "logits", ("temperature",), rows=True)),
        ("hints", Loss(hints, "features", regressed=True)),
        ("attention", Loss(attention, "features", free=1)),
        ("relevance", Loss(relevance, "evidence")),
    ],
)


def find_loss(loss: str | Loss | Callable) -> Loss:
    """A distillation loss by its name, or as an object.

    Parameters
    ----------
    loss : str, Loss or callable
        A plain function ``(student, teacher) -> scalar`` compares logits of shape ``(N, classes)``.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError, TypeError
        If it is none.
    """
    plain = callable(loss) and not isinstance(loss, Loss)
    return Loss(loss, "logits") if plain else LOSSES.find(loss, "loss")
