"""What a pickle of weights describes. It is not unpickled: its instructions are followed here.

A pickle is a program. Here it makes containers, numbers, texts and `Part`s, which only remember what was
asked for: nothing that the file names is imported or called. Each instruction takes a bounded amount of
memory, and keys of dicts are single texts or numbers, since some bytes can describe a tuple that takes for
ever to hash.
"""

import functools
import pickletools

MAX_NAMES = 100_000  # some bytes can describe endless nests of the same dict
# A tensor takes about 40 instructions, and each may make an object of some 100 bytes.
MAX_INSTRUCTIONS = 50 * MAX_NAMES

STORAGE_TYPES = {
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
# All that a pickle may name -> the kind of the part that is made where the pickle calls it.
_KINDS = STORAGE_TYPES | {
    "collections.OrderedDict": "dict",
    "_codecs.encode": "bytes",  # how pickles of protocol 2, PyTorch's among them, have bytes
    "torch._utils._rebuild_tensor": "tensor",
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch._utils._rebuild_parameter": "parameter",
    "numpy.dtype": "dtype",
    "numpy.ndarray": "ndarray",
    "numpy.core.multiarray._reconstruct": "array",
    "numpy.core.numeric._frombuffer": "buffer",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list}


class Refused(Exception):
    """The rest of a sentence that begins with the path of the file."""


class Part:
    """Something that a pickle asks for, not done: its kind, its arguments and the state it is to be given."""

    __slots__ = ("kind", "args", "state")

    def __init__(self, kind, args):
        self.kind, self.args, self.state = kind, args, None


def _named(full_name):
    """The part of something that a pickle names. Its one argument is the kind of what calls of it make."""
    kind = _KINDS.get(full_name.replace("numpy._core.", "numpy.core."))
    if kind is None:
        refusal = "which no weights need; it was refused, and nothing was run"
        raise Refused(f"asks for {full_name!r:.200}, {refusal}.")
    return Part("name", (kind,))


class Pickle:
    """One pickle of a file.

    Attributes:
      tree: its object, made of dicts, lists, tuples, numbers, texts, bytes and `Part`s.
      storage_types: key of each storage of PyTorch in it -> the type of its numbers, such as "float32".
    """

    def __init__(self, file):
        """Reads the next pickle of a file that is held in memory, and leaves the file at its end.

        Raises:
          Refused: the pickle asks for something that no weights need.
          Exception: whatever a damaged pickle leads to.
        """
        self.storage_types = {}
        self._num_copied = 0  # items that OrderedDicts have been made of
        self._latin1 = functools.cache(lambda text: text.encode("latin1"))  # one copy of equal texts
        self._stack, self._below_marks, self._memory = [], [], {}
        for number, (instruction, argument, _) in enumerate(pickletools.genops(file)):
            if number > MAX_INSTRUCTIONS:
                raise Refused(
                    f"has a pickle of more than {MAX_INSTRUCTIONS} instructions, which no weights need."
                )
            taken = self._taken(instruction.stack_before)
            self._stack.extend(self._made(instruction, argument, taken))
        self.tree = self._stack[-1]

    def _taken(self, wanted):
        """Takes off the stack what an instruction wants; of what lies above the last mark: all."""
        if pickletools.markobject not in wanted:
            return [self._stack.pop() for _ in wanted][::-1]
        above, self._stack = self._stack, self._below_marks.pop()
        return [self._stack.pop() for _ in range(wanted.index(pickletools.markobject))] + above

    def _made(self, instruction, argument, taken):
        """The objects that an instruction puts on the stack, from what it took off."""
        match instruction.name:
            case "PROTO" | "FRAME" | "POP" | "POP_MARK":
                return []
            case "STOP":
                return taken
            case "DUP":
                return 2 * taken
            case "MARK":
                self._below_marks.append(self._stack)
                self._stack = []
                return []
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memory[argument] = self._stack[-1]
                return []
            case "MEMOIZE":
                self._memory[len(self._memory)] = taken[0]
                return taken
            case "GET" | "BINGET" | "LONG_BINGET":
                return [self._memory[argument]]
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                return [tuple(taken)]
            case "LIST" | "FROZENSET":
                return [taken]
            case "DICT":
                return [_filled({}, zip(taken[::2], taken[1::2], strict=True))]
            case "APPEND" | "APPENDS" | "ADDITEMS":
                list.extend(taken[0], taken[1:])
                return taken[:1]
            case "SETITEM" | "SETITEMS":
                return [_filled(taken[0], zip(taken[1::2], taken[2::2], strict=True))]
            case "GLOBAL":
                return [_named(argument.replace(" ", "."))]
            case "STACK_GLOBAL":
                return [_named(".".join(taken))]
            case "INST":
                return [self._called(_named(argument.replace(" ", ".")), tuple(taken))]
            case "REDUCE":
                return [self._called(*taken)]
            case "BUILD":
                if isinstance(taken[0], Part):
                    taken[0].state = taken[1]
                return taken[:1]
            case "BINPERSID":
                return [self._storage(*taken[0])]
            case name if name in _CONSTANTS:
                return [_CONSTANTS[name]]
            case name if name in _CONTAINERS:
                return [_CONTAINERS[name]()]
            case _ if argument is not None and instruction.stack_after != [pickletools.anyobject]:
                return [argument]  # a number, a text or bytes
            case name:
                raise Refused(f"has the instruction {name} in its pickle, which no weights need.")

    def _called(self, function, args):
        """The value that a pickled call stands for; nothing is called."""
        if function.kind != "name" or not isinstance(args, tuple):
            raise TypeError("a call needs a name and a tuple")
        (kind,) = function.args
        if kind == "bytes":
            text, _ = args
            if not isinstance(text, str):
                raise TypeError("bytes must be written as a text")
            return self._latin1(text)
        if kind == "dict":
            pairs = args[0] if args else []
            self._num_copied += len(pairs)
            if self._num_copied > MAX_NAMES:
                raise Refused(f"has more than {MAX_NAMES} names.")
            return _filled({}, pairs)
        return Part(kind, args)

    def _storage(self, kind, storage_type, key, _, count, view=None):
        """The part of a storage: (key, type of its numbers, number of elements, first element, length).

        view: torch 0.x has (view key, first element, length) or None.
        """
        (dtype,) = storage_type.args if storage_type.kind == "name" else (None,)
        if kind != "storage" or dtype not in STORAGE_TYPES.values() or not isinstance(key, str):
            # The text of nested lists may be endless.
            kind = repr(kind) if isinstance(kind, str) else type(kind).__name__
            raise Refused(f"keeps a {kind:.60} beside its pickle, which is no array.")
        self.storage_types[key] = dtype
        _, first, length = view or (None, 0, count)
        return Part("storage", (key, dtype, count, first, length))


def _filled(target, pairs):
    """The dict `target`, with more (key, value) pairs."""
    for key, value in pairs:
        if not isinstance(key, (str, bytes, int, float, type(None))):
            raise Refused(f"has a {type(key).__name__} as the key of a dict, which no weights need.")
        dict.__setitem__(target, key, value)
    return target
