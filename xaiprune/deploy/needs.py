"""What runtimes need and a machine may lack: packages, and a C++ compiler."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

#: Packages that ONNX Runtime is reached by, and all that the extra ``deploy`` brings.
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_DEPLOY = (*_ONNX_PACKAGES, "torchao")
#: What torch.compile calls where CXX is not set, and how it is had: by ``sys.platform``, Linux for all others.
_COMPILERS = {
    "linux": ("g++", "install it, on Debian and Ubuntu by `apt install g++`"),
    "darwin": ("clang++", "install it by `xcode-select --install`"),
    "win32": ("cl", "install the Build Tools for Visual Studio, with C++"),
}


class UnavailableError(RuntimeError):
    """Something that cannot run on this machine; the message says what is missing, and the way out."""


def need(what: str, lack: str) -> None:
    """Raise for what cannot run here.

    Parameters
    ----------
    what : str
        As the message names it.
    lack : str
        What this machine lacks, with the way out; empty if nothing.

    Raises
    ------
    UnavailableError
        If something is missing.
    """
    if lack:
        raise UnavailableError(f"{what} cannot run here: {lack}.")


def lacks_packages(*names: str) -> str:
    """Which packages are not installed, and what installs them; empty if all are there.

    Parameters
    ----------
    *names : str
        As they are imported.

    Returns
    -------
    str
    """
    missing = [name for name in names if find_spec(name) is None]
    if not missing:
        return ""
    wanted = '"xaiprune[deploy]"' if set(missing) <= set(_DEPLOY) else " ".join(missing)
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; `pip install {wanted}`"


def lacks_compiler() -> str:
    """What torch.compile misses to build its kernels, and what brings it; empty if nothing.

    It calls ``$CXX``, or the system's usual compiler, and its code includes Python's header files.

    Returns
    -------
    str
    """
    usual, advice = _COMPILERS.get(sys.platform, _COMPILERS["linux"])
    command = os.environ.get("CXX", usual)
    if not (shutil.which(command) or shutil.which((shlex.split(command) or [usual])[0])):
        return f"there is no C++ compiler {command!r}; {advice}"
    if sys.platform == "linux" and not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's header files are missing; install them, on Debian and Ubuntu by `apt install python3-dev`"
    return ""
