"""Machine code that Numba made in an earlier process: from disk into memory, and called, without Numba.

    file: MAGIC, SHA-256 of what follows, length of the header, header (JSON), object code (ELF)

Numba's functions are C functions: a status; pointers to the result and to the exception; then each argument taken apart
into numbers and pointers. An array is seven things, its shape and its strides one number an axis:

    meminfo (none), parent (none), number of items, bytes of an item, data, shape, strides

A tuple is its items, one after the other. `with_numba` keeps only what it has seen to be called in this way, so nothing
here depends on the version of Numba. Its signatures are texts, which say of each argument what it is:

    i8  u4  f8  b1        numbers: kind and bytes
    u1[2]  u1[2]r         C-contiguous arrays of 2 axes, and one that is read-only
    (i8 f8)  (x=i8)       tuples, and named ones

Any fault in reading means that there is no code: Numba then compiles the function anew.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import pickle
import struct
import tempfile
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from obverse.jit.origin import FunctionOrigin

MAGIC = b"obverse machine code 1\n"
# what the code may ask of the process: it ends if it cannot have it, so nothing that is not in every C library
SYMBOLS = frozenset({
    "memcpy", "memmove", "memset", "floor", "floorf", "ceil", "ceilf", "rint", "rintf", "trunc", "truncf", "fmod",
    "exp", "exp2", "log", "log2", "log10", "pow", "sqrt",
})  # fmt: skip
NO_SIGNATURE = "?"
MOST_LEAVES = 1000  # ctypes passes 1024 arguments
OF_ARRAY = ("meminfo", "parent", "nitems", "itemsize", "data", "shape", "strides")

_OK, _OK_NONE = 0, -2  # statuses; the latter of functions that return nothing
_HASH, _LENGTH = 32, struct.Struct("<I")
_LARGEST_INT = (1 << 63) - 1

NUMBERS: dict[str, Any] = {
    "b1": ctypes.c_bool, "i1": ctypes.c_int8, "i2": ctypes.c_int16, "i4": ctypes.c_int32, "i8": ctypes.c_int64,
    "u1": ctypes.c_uint8, "u2": ctypes.c_uint16, "u4": ctypes.c_uint32, "u8": ctypes.c_uint64,
    "f4": ctypes.c_float, "f8": ctypes.c_double,
}  # fmt: skip
_DTYPES = {np.dtype(name): name for name in NUMBERS}
_SCALARS: dict[type, str] = {np.dtype(name).type: name for name in NUMBERS} | {bool: "b1", float: "f8"}


class Unsupported(Exception):
    """Something that the code on disk is not made for."""


# -- arguments ----------------------------------------------------------------------------------------


def flattened(arguments: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The signature of arguments, and what the C function takes for them; NO_SIGNATURE for what it cannot take."""
    signature: list[str] = []
    values: list[Any] = []
    try:
        for argument in arguments:
            _flatten(argument, signature, values)
    except Unsupported:
        return NO_SIGNATURE, values
    return (" ".join(signature) if len(values) <= MOST_LEAVES else NO_SIGNATURE), values


def _flatten(value: Any, signature: list[str], values: list[Any]) -> None:
    kind = type(value)
    if kind is np.ndarray:
        flags, name = value.flags, _DTYPES.get(value.dtype)
        if name is None or not (flags.c_contiguous and flags.aligned):
            raise Unsupported
        signature.append(f"{name}[{value.ndim}]" if flags.writeable else f"{name}[{value.ndim}]r")
        data = value.__array_interface__["data"][0]
        values += (None, None, value.size, value.itemsize, data, *value.shape, *value.strides)
    elif kind is int:
        if not -_LARGEST_INT <= value <= _LARGEST_INT:
            raise Unsupported
        signature.append("i8")
        values.append(value)
    elif kind in _SCALARS:
        signature.append(_SCALARS[kind])
        values.append(value if kind in (bool, float) else value.item())
    elif isinstance(value, tuple):
        names = getattr(kind, "_fields", ("",) * len(value))
        if (kind is not tuple and not hasattr(kind, "_fields")) or len(names) != len(value):
            raise Unsupported
        signature.append("(")
        for name, item in zip(names, value, strict=True):
            signature.append(f"{name}=")
            _flatten(item, signature, values)
        signature.append(")")
    else:
        raise Unsupported


def leaves(signature: str) -> list[str]:
    """What the C function takes for a signature: names of NUMBERS, and "p" for pointers."""
    found: list[str] = []
    for word in signature.split():
        name, is_array, axes = word.removesuffix("r").removesuffix("]").partition("[")
        if is_array:
            found += ["p", "p", "i8", "i8", "p"] + ["i8"] * (2 * int(axes))
        elif name in NUMBERS:
            found.append(name)
    return found


# -- code ---------------------------------------------------------------------------------------------


class _Exception(ctypes.Structure):
    """How Numba describes an exception: a pickle of its class and arguments."""

    _fields_ = [("pickle", ctypes.c_void_p), ("size", ctypes.c_int32)]


class Code:
    """Machine code in memory; may be called by several threads at once, and other threads of Python go on meanwhile."""

    def __init__(self, engine: Any, address: int, name: str, signature: str, result: str):
        self._engine = engine  # whose memory holds the code
        self._name = name
        kinds = [ctypes.c_void_p if leaf == "p" else NUMBERS[leaf] for leaf in leaves(signature)]
        pointer = ctypes.c_void_p
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32, pointer, pointer, *kinds)(address)
        self._result: Any = result_type(result)
        self._returns = "nothing" if result == "none" else "tuple" if result.startswith("(") else "number"

    def __call__(self, values: list[Any]) -> Any:
        result, exception = self._result(), ctypes.POINTER(_Exception)()
        status = self._function(ctypes.addressof(result), ctypes.addressof(exception), *values)
        if status not in (_OK, _OK_NONE):
            raise _raised(self._name, exception)
        if self._returns == "number":
            return result.value
        return (
            tuple(getattr(result, name) for name, _ in result._fields_) if self._returns == "tuple" else None
        )


def result_type(result: str) -> Any:
    """The ctypes of a result: "none", a number, or a tuple of numbers, each of 8 bytes, so nothing is between them."""
    if result == "none":
        return ctypes.c_void_p
    if result.startswith("("):
        return type("Result", (ctypes.Structure,), {
            "_fields_": [(f"item{i}", NUMBERS[word]) for i, word in enumerate(result[1:-1].split())]
        })  # fmt: skip
    return NUMBERS[result]


def _raised(name: str, found: Any) -> BaseException:
    with suppress(Exception):
        kind, arguments, *_ = pickle.loads(ctypes.string_at(found[0].pickle, found[0].size))
        if issubclass(kind, Exception):
            return kind(*(arguments or ()))  # type: ignore[no-any-return]
    return RuntimeError(f"the compiled function {name} failed")


# -- files --------------------------------------------------------------------------------------------


def load(origin: FunctionOrigin, signature: str) -> Code | None:
    """The code of a function for a signature, if it is on disk and made from what there is now."""
    if signature == NO_SIGNATURE:
        return None
    try:
        path, key = origin.path(signature), origin.key(signature)
        if path is None or key is None:
            return None
        with open(path, "rb") as file:
            data = file.read()
        start = len(MAGIC) + _HASH
        if not data.startswith(MAGIC) or hashlib.sha256(data[start:]).digest() != data[len(MAGIC) : start]:
            return None
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        header = json.loads(data[start : start + length])
        if header["key"] != key or not _in_process(header["symbols"]):
            return None
        engine, address = _in_memory(data[start + length :], header["name"])
        return Code(engine, address, origin.function.__qualname__, signature, header["result"])
    except Exception:  # whatever the file, the library or the system may say
        return None


def save(origin: FunctionOrigin, signature: str, name: str, result: str, code: bytes) -> None:
    """Keep object code for later processes, if it stands alone and there is a place for it.

    Args:
        origin: the function.
        signature: what it is compiled for.
        name: of the C function.
        result: as `result_type` takes it.
        code: object code.
    """
    path, key = origin.path(signature), origin.key(signature)
    symbols = undefined_symbols(code)
    if path is None or key is None or not _in_process(symbols):
        return
    header = json.dumps({"key": key, "name": name, "result": result, "symbols": symbols}).encode()
    rest = _LENGTH.pack(len(header)) + header + code
    with suppress(OSError):
        _write(path, MAGIC + hashlib.sha256(rest).digest() + rest)


def _write(path: str, data: bytes) -> None:
    """At once: another process finds the old file or the new one."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), suffix=".tmp", delete=False) as file:
        try:
            file.write(data)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _in_process(symbols: list[str]) -> bool:
    return SYMBOLS.issuperset(symbols) and all(hasattr(_process(), name) for name in symbols)


@functools.cache
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _in_memory(code: bytes, name: str) -> tuple[Any, int]:
    """LLVM's engine that holds object code, and the address of a function there."""
    from llvmlite import binding

    # an engine each: functions that two objects have by the same name are not the same
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(name)
    if not address:
        raise Unsupported
    return engine, address


def _target_machine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine(jit=True)


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


def undefined_symbols(code: bytes) -> list[str]:
    """What object code (ELF of 64 bits, little-endian) needs from elsewhere; `Unsupported` for other formats."""
    if code[:6] != b"\x7fELF\x02\x01":
        raise Unsupported
    try:
        (table,) = struct.unpack_from("<Q", code, 40)
        size, number = struct.unpack_from("<HH", code, 58)
        sections = [
            _Section(*struct.unpack_from("<IIQQQQIIQQ", code, table + i * size)) for i in range(number)
        ]
        found = set()
        for section in sections:
            if section.kind != 2:  # SHT_SYMTAB
                continue
            names = sections[section.link].offset
            for at in range(section.offset, section.offset + section.size, section.entry):
                name, _, _, where = struct.unpack_from("<IBBH", code, at)
                if where == 0 and name:
                    start = names + name
                    found.add(code[start : code.index(b"\0", start)].decode("ascii"))
        return sorted(found)
    except (struct.error, IndexError, ValueError) as error:
        raise Unsupported from error
