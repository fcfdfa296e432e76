"""Plug-ins that a Python program passes as objects: how other processes get them.

An object of a module is passed as `module:object`. What worker processes cannot import, such as
the functions of a script or a notebook, is pickled with its code.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from img2ds.core import plugins
from img2ds.core.failure import UsageError

#: Objects in messages and manifests are cut to so many characters.
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Plugin:
    """A function for images, as it is passed to worker processes.

    Attributes:
        flag: `filter` or `transform`.
        name: by which manifests and messages know it.
        pickled: the object, where its name does not lead to it.
    """

    flag: str
    name: str
    pickled: bytes | None = None

    def load(self) -> Any:
        """Return the object. Raises UsageError: it cannot be imported."""
        if self.pickled is None:
            return plugins.load(self.flag, self.name)
        return pickle.loads(self.pickled)

    def set_up(self) -> Any:
        """Return the function: a class is called without arguments first, once in a process."""
        found = self.load()
        return found() if isinstance(found, type) else found

    @property
    def label(self) -> str:
        """The name without its module and the digest of its code, for messages."""
        return self.name.rpartition(":")[2].partition("#")[0].rpartition("<locals>.")[2]

    def __str__(self) -> str:
        return self.name


def plugin_of(flag: str, value: Any) -> Plugin:
    """Return the plug-in that a name, or an object of a Python program, stands for.

    Raises:
        UsageError: there is none of this name, it cannot be called, or it cannot be passed to
            worker processes.
    """
    if isinstance(value, Plugin):
        return value
    if isinstance(value, str):
        _check_callable(flag, value, plugins.load(flag, value))
        return Plugin(flag, value)
    _check_callable(flag, repr(value), value)
    name = reference_to(value)
    if name is not None:
        return Plugin(flag, name)
    return Plugin(flag, _describe(value), _pickled(flag, value))


def reference_of(flag: str, value: Any) -> str:
    """Return the name of an object that later runs and other commands have to find, too.

    Raises:
        UsageError: it has none.
    """
    name = reference_to(value)
    if name is None:
        raise UsageError(
            f"--{flag}: {_short(value)} is not an object of a module that other processes can "
            "import: put it into one, or pass its name as MODULE:OBJECT"
        )
    return name


def reference_to(value: Any) -> str | None:
    """Return `module:object` for an object of a module; None for others.

    Those of the main program have none: worker processes do not run it.
    """
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(path, str):
        found: Any = sys.modules.get(module)
        for attribute in path.split("."):
            found = getattr(found, attribute, None)
        if found is value:
            return None if module == "__main__" else f"{module}:{path}"
    # An instance does not know its name, a module does: as `pickle.whichmodule` searches.
    for name, loaded in list(sys.modules.items()):
        if name in ("__main__", "__mp_main__") or not isinstance(loaded, types.ModuleType):
            continue
        for attribute, there in list(vars(loaded).items()):
            if there is value:
                return f"{name}:{attribute}"
    return None


def _check_callable(flag: str, name: str, value: Any) -> None:
    if not callable(value):
        raise UsageError(f"--{flag}: {name} cannot be called, it is a {type(value).__name__}")


def _pickled(flag: str, value: Any) -> bytes:
    import cloudpickle  # unlike pickle, it takes the code of lambdas and notebooks along

    try:
        data: bytes = cloudpickle.dumps(value)
    except Exception as error:  # whatever its `__reduce__` does
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"--{flag}: {_short(value)} cannot be passed to worker processes ({words}): put it "
            "into a module, or create what it holds in a class, which is set up in each process"
        ) from None
    return data


def _describe(value: Any) -> str:
    """Return what tells an object from others in the manifest: its name, and a digest of its code.

    The same program gives the same text every time it is run.
    """
    if isinstance(value, functools.partial):
        given = [_plain(item) for item in value.args]
        given += [f"{name}={_plain(item)}" for name, item in sorted(value.keywords.items())]
        return f"{_describe(value.func)}({', '.join(given)})"
    of = value if hasattr(value, "__qualname__") else type(value)
    name = f"{of.__module__}:{of.__qualname__}"
    if reference_to(of) is None:
        digest = hashlib.sha256("".join(_code(of)).encode()).hexdigest()
        name += f"#{digest[:12]}"
    return name if of is value else f"{name} {_short(value)}"


def _code(value: Any) -> Iterator[str]:
    """Yield what a function, or the methods of a class, do."""
    if isinstance(value, type):
        for name, member in sorted(vars(value).items()):
            if isinstance(member, types.FunctionType):
                yield name
                yield from _code(member)
    elif isinstance(value, types.FunctionType):
        yield from _instructions(value.__code__)
        yield _plain(value.__defaults__)
        for cell in value.__closure__ or ():
            if callable(cell.cell_contents):
                yield from _code(cell.cell_contents)
            else:
                yield _plain(cell.cell_contents)


def _instructions(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _instructions(constant)
        elif isinstance(constant, frozenset):  # its order differs from run to run
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)


def _plain(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _short(value: Any) -> str:
    text = _plain(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
