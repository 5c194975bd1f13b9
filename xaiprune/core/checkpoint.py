"""State that survives an interruption, and that only the call which wrote it takes up again."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .files import save_atomically

if TYPE_CHECKING:
    import torch

_FORM = 2


class Checkpoint:
    """A file with the state of a run and the identity of the call that it belongs to.

    The identity is *every* argument that changes the result. A file that was written by a call with another one is
    refused, with the argument's name, what the file has, and what came.

    Parameters
    ----------
    path : Path or None
        None keeps nothing: ``load`` finds nothing then, and ``save`` does nothing.
    identity : mapping of str to object
        Arguments by name. Of models and tensors the content counts, of dataclasses the fields, of functions the code
        and what it encloses; see :func:`fingerprint`. A model that the run itself changes comes as :class:`InPlace`.
    argument : str
        What the argument with the path is called, for messages.

    Notes
    -----
    Weights of a model :class:`InPlace` are saved and loaded with the state. Used as a context manager, the checkpoint
    gives the model the weights that were saved last if the body raises, so that the same call can be made again.

    Raises
    ------
    ValueError
        If the file belongs to another call, or is no checkpoint of this form.
    """

    def __init__(self, path: Path | str | None, identity: Mapping[str, object], argument: str = "resume"):
        self.path, self.argument = None if path is None else Path(path), argument
        kept = {} if path is None else identity
        self.identity = {name: fingerprint(value) for name, value in kept.items()}
        self._own = {name: value.model for name, value in kept.items() if isinstance(value, InPlace)}
        self._start = {name: _digests(model.state_dict()) for name, model in self._own.items()}
        self._weights = {name: _copied(model) for name, model in self._own.items()}
        self._state = None
        if self.path is not None and self.path.exists():
            self._state = self._read()

    def load(self) -> dict | None:
        """The state that was saved last; a model in place gets its weights.

        Returns
        -------
        dict or None
            None where nothing was saved.
        """
        if self._state is not None:
            self._restore()
        return self._state

    def save(self, **state) -> None:
        """Keep the state in place of the one before.

        Parameters
        ----------
        **state
            Tensors, state dicts, numbers, strings, and lists and dicts of them.
        """
        self._state = state
        if self.path is None:
            return
        import torch

        self._weights = {name: _copied(model) for name, model in self._own.items()}
        content = {"form": _FORM, "identity": json.dumps(self.identity), "state": state}
        content |= {"start": json.dumps(self._start), "weights": self._weights}
        save_atomically(self.path, lambda temporary: torch.save(content, temporary))

    def finish(self) -> None:
        """Delete the file: the run has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def part(self, name: str) -> Path | None:
        """A path beside the file, for a run within this one.

        Parameters
        ----------
        name : str

        Returns
        -------
        Path or None
            None where nothing is kept.
        """
        return None if self.path is None else self.path.with_name(f"{self.path.name}.{name}")

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None:
            self._restore()

    def _restore(self) -> None:
        for name, model in self._own.items():
            model.load_state_dict(self._weights[name])

    def _read(self) -> dict:
        import torch

        renew = f"delete it, or give {self.argument} another file name"
        try:
            content = torch.load(self.path, weights_only=True)
            if content["form"] != _FORM:
                raise KeyError("form")
            kept, state = json.loads(content["identity"]), content["state"]
            start, weights = json.loads(content["start"]), content["weights"]
        except (pickle.UnpicklingError, KeyError, TypeError, ValueError, EOFError, RuntimeError) as error:
            raise ValueError(
                f"{self.argument}: {self.path} holds no state of this version of the package ({type(error).__name__}); "
                f"{renew}."
            ) from error
        for name in [*self.identity, *(set(kept) - set(self.identity))]:
            was, now = kept.get(name, "nothing"), self.identity.get(name, "nothing")
            if was != now:
                raise ValueError(
                    f"{self.argument}: {self.path} was written by a call with another {name} ({_short(was)}, now "
                    f"{_short(now)}); give the same {name}, or {renew}."
                )
        for name, now in self._start.items():
            reached = _digests(weights[name])
            if any(one not in (start[name][place], reached[place]) for place, one in now.items()):
                raise ValueError(
                    f"{self.argument}: {self.path} was written by a call with another {name}: its weights are neither "
                    f"those that the run began with, nor those that it has reached; give the same {name}, or {renew}."
                )
        self._start, self._weights = start, weights
        return state


@dataclasses.dataclass(frozen=True, eq=False)
class InPlace:
    """A model of an identity that the run itself changes.

    Its architecture belongs to the identity. Its weights may be those that the run began with, as in a new process, or
    those that were saved last, as after an interruption.

    Attributes
    ----------
    model : nn.Module
    """

    model: object

    def fingerprint(self) -> str:
        """The architecture: class, layers, and the shapes of the tensors.

        Returns
        -------
        str
        """
        shapes = [(name, tuple(tensor.shape)) for name, tensor in self.model.state_dict().items()]
        return f"{type(self.model).__name__} {_digest(repr(self.model) + repr(shapes))}"


def fingerprint(value: object) -> str:
    """What a value is, in words that are the same in another process and for an equal value.

    Parameters
    ----------
    value : object
        Numbers, strings and None stand for themselves. Of a tensor, an array or a model the content counts (shape, type
        and SHA-256), of a dataclass or named tuple the fields, of a mapping or sequence the items. Of a function its
        name, its code, its defaults and what it encloses count, of an object the class and what it holds. An object
        with a method ``fingerprint()`` says it itself.

    Returns
    -------
    str

    Examples
    --------
    >>> xp.core.fingerprint({"lr": 0.1, "steps": (1, 2)})
    '{lr: 0.1, steps: [1, 2]}'
    """
    return _print(value, ())


def _print(value: object, inside: tuple[int, ...]) -> str:
    if isinstance(value, bytes):
        return f"bytes {_digest(value)}"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value) if isinstance(value, str) else str(value)
    if isinstance(value, Path | enum.Enum):
        return str(value)
    if inspect.isclass(value) or inspect.ismodule(value) or inspect.isbuiltin(value):
        return getattr(value, "__qualname__", value.__name__)
    if id(value) in inside:
        return "itself"
    told, inside = functools.partial(_print, inside=(*inside, id(value))), (*inside, id(value))
    if callable(getattr(value, "fingerprint", None)):
        return value.fingerprint()
    if hasattr(value, "state_dict") and hasattr(value, "named_modules"):
        state = [(name, told(tensor)) for name, tensor in value.state_dict().items()]
        held = [told(value.forward)] if "forward" in vars(value) else []
        held += [(part, *_settings(module)) for part, module in value.named_modules()]
        return f"{type(value).__name__} {_digest(repr(value) + repr(state) + repr(held))}"
    if hasattr(value, "get_state") and hasattr(value, "manual_seed"):
        return f"{type(value).__name__} {told(value.get_state())}"
    if hasattr(value, "numpy") or hasattr(value, "__array__"):
        return _of_tensor(value)
    if isinstance(value, functools.partial):
        return f"partial({told(value.func)}, {told(value.args)}, {told(value.keywords)})"
    if inspect.ismethod(value):
        return f"{told(value.__func__)} of {told(value.__self__)}"
    if inspect.isfunction(value):
        return _of_function(value, told)
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{type(value).__name__}{told(fields)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {told(item)}" for name, item in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(told, value))) + "}"
    if isinstance(value, tuple | list | range):
        return "[" + ", ".join(map(told, value)) + "]"
    return f"{type(value).__name__}({_held(value, told)})"


def _settings(module) -> list[tuple[str, str]]:
    """Plain values that a module holds beside its tensors, such as a threshold, which its repr need not show."""
    rows = sorted((name, value) for name, value in vars(module).items() if not name.startswith("_"))
    plain = bool | int | float | str | bytes | tuple
    return [(name, fingerprint(value)) for name, value in rows if name != "training" and isinstance(value, plain)]


def _digests(state: Mapping) -> dict[str, str]:
    return {name: fingerprint(value) for name, value in state.items()}


def _copied(model) -> dict:
    return copy.deepcopy(model.state_dict())


def _held(value: object, told) -> str:
    """What an object holds: its attributes, those that begin with an underscore included."""
    names = getattr(value, "__dict__", None)
    if names is None:  # nothing to look into
        return "" if " at 0x" in repr(value) else repr(value)  # an address says nothing of the value
    return ", ".join(f"{name}={told(item)}" for name, item in sorted(names.items()))


def _of_function(function, told) -> str:
    """Name, code and what is enclosed; the code without line numbers, so that moving it changes nothing."""
    code = function.__code__
    held = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    rest = [*held, *(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]
    return f"{function.__qualname__} {_digest(_of_code(code) + ''.join(map(told, rest)))}"


def _of_code(code) -> str:
    constants = [_of_code(one) if inspect.iscode(one) else fingerprint(one) for one in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, constants))


def _filled(cell) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where the cell is empty
    except ValueError:
        return False
    return True


def _of_tensor(value) -> str:
    """Type, shape and content."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        kind = str(value.dtype).removeprefix("torch.")
        value = value.float() if kind == "bfloat16" else value
        array = value.numpy()
    else:
        array = np.asarray(value)
        kind = str(array.dtype)
    if array.ndim == 0:
        return f"{kind} {array.item()}"
    return f"{kind} {tuple(array.shape)} {_digest(np.ascontiguousarray(array).tobytes())}"


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:12]


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."


def digest(*tensors: torch.Tensor) -> str:
    """What tensors hold, in 12 hexadecimal digits of a SHA-256, for an identity.

    Parameters
    ----------
    *tensors : torch.Tensor

    Returns
    -------
    str

    Examples
    --------
    >>> xp.core.digest(torch.zeros(2)) == xp.core.digest(torch.ones(2))
    False
    """
    return _digest(b"".join(tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in tensors))
