"""Which modules of tal_jax read which field of a config, by their syntax trees; for `benchmarks.fields`.

An expression stands for a part of a config: `config` for all of it, `config.train` for a section. So do names
that such a part is assigned to, and parameters of functions that are called with one.
"""

import ast
import collections
import functools
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent / "tal_jax"
SAME = ("copy_and_resolve_references", "to_dict")  # methods that give the same part again
READING = ("get", "get_ref", "pop")  # methods that read the field that they name
FUNCTIONS = (ast.FunctionDef, ast.Lambda)
ANY = ""  # module of a method: which class it is of is not known where it is called


def readers(fields):
    """{field: the set of modules that read it} of fields such as "train.epochs"."""
    return _Readers(fields).found


class _Readers:
    def __init__(self, fields):
        self.found = {field: set() for field in fields}
        self._sections = {field.rpartition(".")[0] for field in fields} - {""}
        # Parts that stand for a parameter (module, function, its place or name), an attribute (class, name).
        self._given, self._attributes = collections.defaultdict(set), collections.defaultdict(set)
        self._parameters = collections.defaultdict(set)  # module, function or class -> names
        self._imports, self._tables = {}, {}  # module, name -> what it is there; functions of a dict
        trees = {}
        for path in PACKAGE.rglob("*.py"):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            trees[module.removesuffix("__init__").removesuffix(".")] = ast.parse(path.read_text())
        for module, tree in trees.items():
            for node in ast.walk(tree):
                self._look_up(module, node)
        size = -1
        while size < (size := self._size()):  # until no call gives a parameter something new
            for self._module, tree in trees.items():
                self._class, self._strings = "", [()]
                self._visit_all(tree.body, {})

    def _size(self):
        tables = (self._given, self._attributes, self.found)
        return sum(len(entries) for table in tables for entries in table.values())

    def _look_up(self, module, node):
        """Notes what is imported, which parameters functions have, and tables of functions."""
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tal_jax"):
            for name in node.names:
                place = node.module.removeprefix("tal_jax").removeprefix(".")
                self._imports[module, name.asname or name.name] = place, name.name
        elif isinstance(node, ast.ClassDef):
            fields = [entry.target.id for entry in node.body if isinstance(entry, ast.AnnAssign)]
            self._parameters[module, node.name] = set(fields)
        elif isinstance(node, ast.FunctionDef):
            self._parameters[module, node.name] = {argument.arg for argument in _arguments(node)}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names = [value.id for value in node.value.values if isinstance(value, ast.Name)]
            self._tables[module, ast.unparse(node.targets[0])] = names

    def _visit_all(self, nodes, names):
        for node in nodes:
            self._visit(node, names)

    def _visit(self, node, names):
        """Looks through a statement or an expression. names: {name: the parts it stands for}."""
        if isinstance(node, ast.ClassDef):
            before, self._class = self._class, node.name
            self._visit_all(node.body, names)
            self._class = before
        elif isinstance(node, FUNCTIONS):
            self._visit_function(node, dict(names))
        elif isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
            inner = dict(names)
            self._visit_all(node.generators, inner)
            self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)
        else:
            if isinstance(node, ast.Assign):
                self._bind(node.targets[0], node.value, names)
            elif isinstance(node, (ast.For, ast.comprehension)):
                self._bind(node.target, node.iter, names)
            elif isinstance(node, ast.expr):
                self._parts(node, names)
            self._visit_all(ast.iter_child_nodes(node), names)

    def _visit_function(self, node, names):
        arguments, called = _arguments(node), getattr(node, "name", "")
        is_method = bool(arguments) and arguments[0].arg == "self"
        key = (self._module, self._class) if called == "__init__" else (self._module, called)
        key = (ANY, called) if is_method and called != "__init__" else key
        for index, argument in enumerate(arguments):
            parts = self._given[*key, index - is_method] | self._given[*key, argument.arg]
            names[argument.arg] = parts | ({""} if argument.arg == "config" else set())
        constants = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
        self._strings.append([value for value in constants if isinstance(value, str)])
        self._visit_all(node.body if isinstance(node.body, list) else [node.body], names)
        self._strings.pop()

    def _bind(self, target, value, names):
        """An assignment, or a loop over the entries of `value`."""
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, of_one in zip(target.elts, value.elts):
                self._bind(one, of_one, names)
        elif isinstance(target, ast.Name):
            names[target.id] = self._parts(value, names)
        elif ast.unparse(target).startswith("self."):
            self._attributes[self._class, ast.unparse(target)[5:]] |= self._parts(value, names)

    def _parts(self, node, names):
        """The parts of a config that an expression stands for; notes the fields that it reads."""
        look = functools.partial(self._parts, names=names)
        if isinstance(node, ast.Name):
            return names.get(node.id, set())
        if isinstance(node, ast.Attribute):
            of_self = self._attributes[self._class, node.attr] if ast.unparse(node.value) == "self" else set()
            if of_self or node.attr == "config":
                return of_self or {""}
            return self._read(look(node.value), [node.attr], node.ctx)
        if isinstance(node, ast.Subscript):
            # Of an entry that is not said, any text in the function may be the name.
            said = [node.slice.value] if isinstance(node.slice, ast.Constant) else self._strings[-1]
            return self._read(look(node.value), said, node.ctx)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            self._read(look(node.comparators[0]), [getattr(node.left, "value", None)])
        if isinstance(node, ast.Call):
            return self._call(node, names)
        if isinstance(node, (ast.BoolOp, ast.IfExp, ast.Tuple, ast.List)):
            inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            return set().union(*map(look, inner))
        if isinstance(node, ast.GeneratorExp):
            inner = dict(names)
            self._visit_all(node.generators, inner)
            return self._parts(node.elt, inner)
        if isinstance(node, ast.NamedExpr):
            self._bind(node.target, node.value, names)
            return look(node.value)
        return set()

    def _call(self, node, names):
        function, arguments = node.func, node.args
        if isinstance(function, ast.Attribute):
            parts = self._parts(function.value, names)
            if parts and function.attr in SAME:
                return parts
            if parts and function.attr in READING:
                return self._read(parts, [getattr(arguments[0], "value", None)])
            if function.attr == "partial":
                function, *arguments = arguments
        for called in self._called(function):
            for index, argument in enumerate(arguments):
                self._given[*called, index] |= self._parts(argument, names)
            for keyword in node.keywords:
                parts = self._parts(keyword.value, names)
                if keyword.arg:
                    self._given[*called, keyword.arg] |= parts
                else:  # **config.model
                    for parameter in self._parameters[called]:
                        self._read(parts, [parameter], module=called[0])
        return set()

    def _called(self, function):
        """[(module, name)] of what an expression calls."""
        if isinstance(function, ast.Name):
            return [self._imports.get((self._module, function.id), (self._module, function.id))]
        if isinstance(function, ast.Attribute):
            base = self._imports.get((self._module, ast.unparse(function.value)))
            return [(".".join(filter(None, base)) if base else ANY, function.attr)]
        if isinstance(function, ast.Subscript):
            table = self._tables.get((self._module, ast.unparse(function.value)), ())
            return [self._imports.get((self._module, name), (self._module, name)) for name in table]
        return []

    def _read(self, parts, names, context=None, module=None):
        """Notes the fields of some names in parts of a config. Returns the sections among them."""
        inner = set()
        for field in (f"{part}.{name}" if part else name for part in parts for name in names):
            if field in self.found and not isinstance(context, ast.Store):
                self.found[field].add(module or self._module)
            if field in self._sections:
                inner.add(field)
            elif field == "first_stage":
                inner.add("")
        return inner


def _arguments(function):
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
