"""What a compiled program launches, multiplies, moves and sends, read from its text, XLA's HLO after all
passes (`Compiled.as_text()`).

A kernel is an instruction that a chip launches: of the entry computation, of the functions it calls, of the
longer branch of a choice, and of a loop as often as it turns, where XLA knows that (once elsewhere). A fusion
is one kernel, whatever it contains.
"""

import collections
import functools
import math
import re
from typing import NamedTuple

WIDTHS = {"pred": 1, "token": 0}  # bytes of an element; others by the bits in their names
FLOATS = ("f64", "f32", "f16", "bf16")  # the widest first
COLLECTIVES = {"all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"}
CONTROL = {"while", "conditional", "call", "async-start"}  # run the computations that they call
TRANSFERS = {"copy-start", "slice-start"}  # between the memories of a TPU, beside its kernels
NO_KERNEL = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier"}
NO_KERNEL |= {"partition-id", "replica-id", "add-dependency", *CONTROL, *TRANSFERS}
NO_KERNEL_CALLS = {"AllocateBuffer", "ConcatBitcast"}  # custom calls that only name memory
SLICES = {"slice", "dynamic-slice", "gather"}
SCALAR_MEMORY = "S(6)"  # of a TPU, whose scalar core works beside the others

_ARRAY = re.compile(r"\b([a-z]+[a-z0-9]*)\[([\d,<=]*)\](\{[^{}]*\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.+)")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|\w+_computations?)=(\{[^}]*\}|%[\w.\-]+)")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_SPATIAL = re.compile(r"dim_labels=(\w*0)")


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    type: str  # of its result, an array or a tuple
    opcode: str
    operands: tuple  # their names; of a parameter, its number
    attributes: str  # all that follows the operands

    def attribute(self, pattern, default=""):
        """What the group of a pattern finds among the attributes."""
        found = pattern.search(self.attributes)
        return found.group(1) if found else default

    @property
    def called(self):
        """The names of the computations it calls."""
        return [name for group in _CALLED.findall(self.attributes) for name in _NAME.findall(group)]

    @property
    def is_kernel(self):
        """Whether a chip launches something for it."""
        ends = self.opcode.endswith(("-done", "async-update"))
        scalar = self.type.endswith(SCALAR_MEMORY + "}")
        names = self.attribute(_TARGET) in NO_KERNEL_CALLS
        return not (ends or scalar or names or self.opcode in NO_KERNEL)


def parse(text):
    """(dict computation -> list of Instruction, the name of the entry computation)."""
    computations, entry, lines = {}, "", []
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            lines = computations.setdefault(found.group(2), [])
            entry = found.group(2) if found.group(1) else entry
        elif found := _INSTRUCTION.match(line):
            lines.append(_instruction(*found.groups()))
    return computations, entry


def _instruction(name, text):
    end = _closed(text, 0) if text.startswith("(") else text.index(" ")
    opcode = _OPCODE.match(text, end)
    close = _closed(text, opcode.end() - 1)
    arguments = text[opcode.end() : close - 1]
    operands = (arguments,) if opcode.group(1) == "parameter" else tuple(_NAME.findall(arguments))
    return Instruction(name, text[:end], opcode.group(1), operands, text[close:])


def _closed(text, start):
    """The end of the bracket that opens at `start`."""
    depth = 0
    for bracket in re.compile(r"[()]").finditer(text, start):
        depth += 1 if bracket.group() == "(" else -1
        if not depth:
            return bracket.end()
    raise ValueError(f"A bracket is not closed: {text[start : start + 80]}")


def arrays_of(type_text, everywhere=False):
    """[bytes] of the arrays of a type, without padding. Those that stay on a TPU's cores have none, unless
    `everywhere`.
    """
    found = []
    for dtype, sizes, layout in _ARRAY.findall(type_text):
        if dtype.startswith("f8"):
            width = 1
        else:
            width = WIDTHS.get(dtype) or int("0" + re.sub(r"\D", "", dtype)) / 8
        count = math.prod(int(size.lstrip("<=")) for size in sizes.split(",") if size)
        found.append(math.ceil(width * count) if everywhere or "S(" not in layout else 0)
    return found


def bytes_of(type_text, everywhere=False):
    """Bytes of an array, or of all arrays of a tuple, see `arrays_of`: 'f32[2,3]{1,0}' has 24."""
    return sum(arrays_of(type_text, everywhere))


def summary(text):
    """What one call of a compiled program does on one chip.

    Returns:
      dict: kernels; bytes that they, and transfers beside them, read from and write to the large memory;
      products, a dict such as {'convolution f32': number}; places, of the same keys, {op_name: number};
      collectives, a dict such as {'all-reduce': [number, bytes]}.
    """
    computations, entry = parse(text)

    @functools.cache
    def total(name, fused=False):
        """A Counter of what a computation does; of one inside a fusion, products alone."""
        counts, named = collections.Counter(), {one.name: one for one in computations[name]}
        for one in computations[name]:
            if product := _product(one, named):
                counts["product", *product] += 1
            counts.update(_of_kernel(one, named, computations) if not fused else {})
            if one.opcode == "conditional":
                branches = [total(called, fused) for called in one.called]
                counts.update(max(branches, key=lambda branch: branch["kernels"]))
            elif one.opcode in CONTROL or one.opcode == "fusion":
                times = int(one.attribute(_TURNS, 1))
                for called in one.called:
                    inner = total(called, fused or one.opcode == "fusion")
                    counts.update({key: times * count for key, count in inner.items()})
        return counts

    products, places, collectives = collections.Counter(), collections.defaultdict(dict), {}
    counts = total(entry)
    for (kind, *what), count in ((key, count) for key, count in counts.items() if isinstance(key, tuple)):
        if kind == "product":
            products[what[0]] += count
            places[what[0]][what[1]] = count
        else:
            collectives[what[0]] = [count, counts[f"bytes of {what[0]}"]]
    figures = {name: counts[name] for name in ("kernels", "bytes")}
    return figures | dict(products=dict(products), places=dict(places), collectives=collectives)


def _of_kernel(one, named, computations):
    """The counts of an instruction itself, without those of what it calls."""
    if one.opcode in TRANSFERS:
        whole, part, *_ = arrays_of(one.type)
        return {"bytes": part or whole}
    if not one.is_kernel:
        return {}
    counts = {"kernels": 1, "bytes": _moved(one, named, computations)}
    kind = one.opcode.removesuffix("-start")
    if kind in COLLECTIVES:
        counts |= {("collective", kind): 1}
        counts[f"bytes of {kind}"] = sum(bytes_of(named[name].type, everywhere=True) for name in one.operands)
    return counts


def _product(one, named):
    """('convolution f32', op_name) of a convolution, ('product f32', …) of a product of matrices, with the
    wider type of its operands; None of others.
    """
    target = one.attribute(_TARGET)
    if one.opcode == "convolution":
        kind = "convolution" if one.attribute(_SPATIAL) else "product"
    elif target.startswith("__cudnn$conv"):
        kind = "convolution"
    elif one.opcode == "dot" or target.startswith("__cublas$"):
        kind = "product"
    else:
        return None
    dtypes = [_ARRAY.search(named[name].type).group(1) for name in one.operands[:2]]
    widest = min(dtypes, key=lambda dtype: FLOATS.index(dtype) if dtype in FLOATS else len(FLOATS))
    return f"{kind} {widest}", one.attribute(_OP_NAME)


def _moved(one, named, computations):
    """Bytes of a kernel's operands and result. Of an operand that it only slices, the slices count; of one
    that it writes a part of anew, the part.
    """
    moved = bytes_of(one.type)
    if one.attribute(_TARGET).startswith("__cublas$"):
        moved = arrays_of(one.type)[0]  # a workspace follows, of which nobody knows what is used
    if one.opcode != "fusion":
        return moved + sum(bytes_of(named[name].type) for name in one.operands)
    lines = computations[one.called[0]]
    types, readers = {line.name: line.type for line in lines}, collections.defaultdict(list)
    for line in lines:
        for name in line.operands:
            readers[name].append(line)
    for line in lines:
        if line.opcode == "parameter":
            whole, parts = bytes_of(named[one.operands[int(line.operands[0])]].type), 0
            for reader in readers[line.name]:
                first = reader.operands[0] == line.name
                if first and reader.opcode in SLICES:
                    parts += bytes_of(reader.type)
                elif not (first and reader.opcode == "dynamic-update-slice"):
                    parts += whole
            moved += min(whole, parts)
        elif line.opcode == "dynamic-update-slice":
            moved -= bytes_of(line.type) - bytes_of(types[line.operands[1]])
    return max(moved, 0)
