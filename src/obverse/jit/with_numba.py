"""Numba's dispatchers, with a cache of their own and with machine code for processes that do without Numba.

All that imports Numba.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numba
from llvmlite import binding
from numba.core import types as numba_types
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from obverse.jit.folder import cache_folder
from obverse.jit.machine_code import NUMBERS, OF_ARRAY, Unsupported, leaves, save
from obverse.jit.origin import FunctionOrigin

types: Any = numba_types
_config: Any = numba.config  # its settings are made when it is imported

_LLVM_NUMBERS = {"b1": "i8", "f4": "float", "f8": "double"}
_LLVM_NUMBERS |= {f"{kind}{size}": f"i{8 * size}" for kind in "iu" for size in (1, 2, 4, 8)}


def compiled(
    function: Callable[..., Any], options: dict[str, Any], cached: bool, origin: FunctionOrigin | None = None
) -> Any:
    """Numba's dispatcher of a function; the function itself where NUMBA_DISABLE_JIT is set.

    Args:
        function: what to compile.
        options: of `numba.njit`.
        cached: whether to keep what is compiled.
        origin: where machine code is to be kept too.
    """
    dispatcher = numba.njit(**options)(function)
    if cached and hasattr(dispatcher, "enable_caching"):
        _enable_cache(dispatcher, origin or FunctionOrigin(function, options), origin is not None)
    return dispatcher


def type_of(dispatcher: Any) -> Any:
    """Numba's type of a dispatcher, by which others may call it."""
    return types.Dispatcher(dispatcher)


class _Cache(FunctionCache):  # type: ignore[misc, unused-ignore]
    """Numba's, without errors of its own: a full disk, files that a power cut left empty."""

    origin: FunctionOrigin

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call, unused-ignore]
        except Exception:  # whatever unpickling raises for damaged files
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call, unused-ignore]

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba's looks at this function alone, not at those that are inlined
        return (*super()._index_key(sig, codegen), self.origin.fingerprint)  # type: ignore[no-untyped-call, unused-ignore]


class _KeepingImplementation(CompileResultCacheImpl):  # type: ignore[misc, unused-ignore]
    """What Numba writes to its cache or has read there is kept as machine code too."""

    origin: FunctionOrigin | None = None

    def reduce(self, cres: Any) -> Any:
        reduced = super().reduce(cres)  # type: ignore[no-untyped-call, unused-ignore]
        self._keep(cres, reduced)
        return reduced

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        cres = super().rebuild(target_context, payload)  # type: ignore[no-untyped-call, unused-ignore]
        self._keep(cres, payload)
        return cres

    def _keep(self, cres: Any, reduced: Any) -> None:
        if self.origin is None or not self.origin.called:
            return
        with suppress(
            Exception
        ):  # code of another kind, another Numba: it is compiled in each process, or read there
            _, kind, (_, bitcode) = reduced[0]
            if kind == "object":
                _save(self.origin, cres, bitcode)


def _enable_cache(dispatcher: Any, origin: FunctionOrigin, keeps: bool) -> None:
    folder = cache_folder(origin.source_folder)
    if folder is None:
        return
    # RuntimeError: no locator; OSError: whatever has changed since the folder was tried
    with _cache_dir(folder), suppress(RuntimeError, OSError):
        made: Any = _Cache(dispatcher.py_func)  # type: ignore[no-untyped-call, unused-ignore]
        made.origin = origin
        if keeps and type(made._impl) is CompileResultCacheImpl:
            made._impl.__class__ = _KeepingImplementation
            made._impl.origin = origin  # type: ignore[attr-defined, unused-ignore]
        dispatcher._cache = made


@contextmanager
def _cache_dir(folder: str) -> Iterator[None]:
    """Numba's setting for one function: those of other packages keep their own."""
    before, _config.CACHE_DIR = _config.CACHE_DIR, folder
    try:
        yield
    finally:
        _config.CACHE_DIR = before


# -- is it called as `machine_code` calls it? ---------------------------------------------------------


def _save(origin: FunctionOrigin, cres: Any, bitcode: bytes) -> None:
    """Keep machine code. Raises Unsupported for functions that are called in another way, or need more than others."""
    manager = cres.target_context.data_model_manager
    signature = " ".join(word for kind in cres.signature.args for word in _words(kind, manager))
    result, name = _result(cres.signature.return_type), cres.fndesc.llvm_func_name
    module = binding.parse_bitcode(bitcode)
    expected = ["p", "p", *(_LLVM_NUMBERS.get(leaf, leaf) for leaf in leaves(signature))]
    takes = [str(a.type) for a in module.get_function(name).arguments]
    if [re.sub(r"^ptr$|^.*\*$", "p", kind) for kind in takes] != expected:
        raise Unsupported
    save(origin, signature, name, result, _object_code(module, name, cres.target_context.codegen()._tm))


def _object_code(module: Any, name: str, target_machine: Any) -> bytes:
    """Of one function and what it calls: not of what else Numba wraps around it, which calls Python.

    Numba counts references to arrays, but not to those that it does not own, as all that `machine_code` passes. One
    that a function made would be freed by `free`, here without effect: `save` refuses what asks for memory.
    """
    free = "NRT_MemInfo_call_dtor"
    if any(function.name == free and function.is_declaration for function in module.functions):
        pointer = str(next(iter(module.get_function(free).arguments)).type)
        module.link_in(binding.parse_assembly(f"define void @{free}({pointer} %0) {{ ret void }}"))
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name == name else "internal"
    if hasattr(binding, "create_new_module_pass_manager"):
        passes = binding.create_new_module_pass_manager()
        passes.add_global_dead_code_eliminate_pass()
        passes.run(
            module, binding.create_pass_builder(target_machine, binding.create_pipeline_tuning_options(0))
        )
    else:
        passes = binding.create_module_pass_manager()
        passes.add_global_dce_pass()
        passes.run(module)
    module.verify()
    return bytes(target_machine.emit_object(module))


def _words(kind: Any, manager: Any) -> list[str]:
    """A type in the words of `machine_code`."""
    if isinstance(kind, types.Array):
        model = manager.lookup(kind)
        if (
            type(kind) is not types.Array
            or kind.layout != "C"
            or not kind.aligned
            or model._fields != OF_ARRAY
        ):
            raise Unsupported
        return [f"{_number(kind.dtype)}[{kind.ndim}]{'' if kind.mutable else 'r'}"]
    if isinstance(kind, types.BaseTuple):
        names = kind.fields if isinstance(kind, types.BaseNamedTuple) else ("",) * len(kind.types)
        words = ["("]
        for name, item in zip(names, kind.types, strict=True):
            words += [f"{name}=", *_words(item, manager)]
        return [*words, ")"]
    return [_number(kind)]


def _number(kind: Any) -> str:
    name = None
    if isinstance(kind, types.Boolean):
        name = "b1"
    elif isinstance(kind, types.Integer):
        name = f"{'i' if kind.signed else 'u'}{kind.bitwidth // 8}"
    elif isinstance(kind, types.Float):
        name = f"f{kind.bitwidth // 8}"
    if name not in NUMBERS:
        raise Unsupported
    return name


def _result(kind: Any) -> str:
    if isinstance(kind, types.NoneType):
        return "none"
    if isinstance(kind, types.BaseTuple):
        names = [_number(item) for item in kind.types]
        if (
            isinstance(kind, types.BaseNamedTuple)
            or not names
            or any(not name.endswith("8") for name in names)
        ):
            raise Unsupported
        return f"({' '.join(names)})"
    return _number(kind)
