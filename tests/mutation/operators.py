"""What a small fault is: each operator takes a node of a syntax tree, and gives nodes to stand in its place."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_PAIRS: Final = (("any", "all"), ("min", "max"), ("startswith", "endswith"), ("partition", "rpartition"))
_NAMES: Final = {old: new for pair in _PAIRS for old, new in (pair, pair[::-1])}
_DELETED: Final = (ast.Expr, ast.Raise, ast.AugAssign, ast.Delete, ast.Continue, ast.Break)
_FOR_PEOPLE: Final = frozenset({"annotation", "returns", "decorator_list", "format_spec"})
"""Fields of nodes that hold nothing to mutate: the type checker's, and how a number is laid out."""
_N = TypeVar("_N", bound=ast.AST)


Key = tuple[str, str, str, str]
"""What names a mutation, also when lines are added above it: module, where in it, the line, and the change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One small fault. *where* is the function or class that it stands in, *line* the source line."""

    module: str
    where: str
    line: str
    change: str
    apply: Callable[[], None]
    """Put it into the tree that :func:`mutations` was given. There is no way back: work on a copy, or in a fork."""

    @property
    def key(self) -> Key:
        """What names it."""
        return self.module, self.where, self.line, self.change


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """A node, and the field of its parent that it can be replaced in."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    where: str

    def put(self, new: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new


def mutations(module: str, tree: ast.Module, source: str) -> Iterator[Mutation]:
    """Every mutation of *tree*, in the order of the source."""
    lines = source.splitlines()
    for site in _sites(tree, "", frozenset(map(id, _words(tree)))):
        for new in _replacements(site):
            ast.fix_missing_locations(ast.copy_location(new, site.node))
            yield Mutation(
                module=module,
                where=site.where,
                line=lines[getattr(site.node, "lineno", 1) - 1].strip(),
                change=f"{_shown(site.node)} → {_shown(new)}",
                apply=partial(site.put, new),
            )


def _shown(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _words(tree: ast.Module) -> Iterator[ast.AST]:
    """What is said to people, and what gives a type another name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node  # a docstring
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from (text for text in node.exc.args[:1] if isinstance(text, ast.Constant | ast.JoinedStr))
        elif isinstance(node, ast.keyword) and node.arg == "hint":
            yield node
    # Constants are annotated with Final here. What isn't is another name for a type.
    yield from (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.Assign))


def _sites(node: ast.AST, where: str, left_alone: frozenset[int]) -> Iterator[_Site]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = f"{where}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and field not in _FOR_PEOPLE and id(child) not in left_alone:
                place = index if isinstance(value, list) else None
                yield _Site(node=child, parent=node, field=field, index=place, where=where)
                yield from _sites(child, where, left_alone)


def _replacements(site: _Site) -> Iterator[ast.AST]:
    node = site.node
    if isinstance(node, ast.expr) and site.field in {"test", "ifs"}:
        yield from _negated(node)
    if isinstance(node, ast.expr) and site.field == "iter":
        yield ast.Tuple(elts=[], ctx=ast.Load())
    if isinstance(node, ast.Tuple) and isinstance(site.parent, ast.ExceptHandler):
        yield from (_with(node, elts=_without(node.elts, i)) for i in range(len(node.elts)))
    if isinstance(node, _DELETED):
        yield ast.Pass()
    operator = _OPERATORS.get(type(node))
    if operator is not None:
        yield from operator(node)


def _with(node: _N, **fields: object) -> _N:
    """A copy of *node* with other fields; what is below them is shared."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _without(items: list[_N], index: int) -> list[_N]:
    return items[:index] + items[index + 1 :]


def _negated(node: ast.expr) -> Iterator[ast.AST]:
    # One comparison, or a `not`, is turned round by its own operator.
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1) and not isinstance(node, ast.UnaryOp):
        yield ast.UnaryOp(op=ast.Not(), operand=node)


def _compared(node: ast.Compare) -> Iterator[ast.AST]:
    for index, old in enumerate(node.ops):
        for new in _COMPARISONS[type(old)]:
            yield _with(node, ops=[*node.ops[:index], new(), *node.ops[index + 1 :]])


def _calculated(node: ast.BinOp | ast.AugAssign) -> Iterator[ast.AST]:
    if type(node.op) in _ARITHMETIC:
        yield _with(node, op=_ARITHMETIC[type(node.op)]())


def _joined(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    for index in range(len(node.values)):
        rest = _without(node.values, index)
        yield _with(node, values=rest) if len(rest) > 1 else copy.copy(rest[0])


def _unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield copy.copy(node.operand)


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(value=not value)
    elif isinstance(value, int):
        yield from (ast.Constant(value=value + step) for step in (1, -1))
    elif isinstance(value, str):
        yield ast.Constant(value=value + "a")
    elif isinstance(value, bytes):
        yield ast.Constant(value=value + b"a")


def _sliced(node: ast.Slice) -> Iterator[ast.AST]:
    for bound in ("lower", "upper", "step"):
        if getattr(node, bound) is not None:
            yield _with(node, **{bound: None})


def _set(node: ast.Set) -> Iterator[ast.AST]:
    if len(node.elts) > 1:  # of a constant, another value does the same
        named = (index for index, item in enumerate(node.elts) if not isinstance(item, ast.Constant))
        yield from (_with(node, elts=_without(node.elts, index)) for index in named)


def _called(node: ast.Call) -> Iterator[ast.AST]:
    for index, keyword in enumerate(node.keywords):
        if keyword.arg not in {None, "hint"} and not isinstance(keyword.value, ast.Constant):
            yield _with(node, keywords=_without(node.keywords, index))


def _returned(node: ast.Return) -> Iterator[ast.AST]:
    if node.value is None:
        yield ast.Pass()
    elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield ast.Return(value=ast.Constant(value=None))


def _named(node: ast.Name) -> Iterator[ast.AST]:
    if node.id in _NAMES:
        yield _with(node, id=_NAMES[node.id])


def _attribute(node: ast.Attribute) -> Iterator[ast.AST]:
    if node.attr in _NAMES:
        yield _with(node, attr=_NAMES[node.attr])


def _assigned(node: ast.Assign) -> Iterator[ast.AST]:
    # Without a name's assignment nothing works, which proves little.
    if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
        yield ast.Pass()


_OPERATORS: Final[dict[type[ast.AST], Callable[[Any], Iterator[ast.AST]]]] = {
    ast.Assign: _assigned,
    ast.Attribute: _attribute,
    ast.AugAssign: _calculated,
    ast.BinOp: _calculated,
    ast.BoolOp: _joined,
    ast.Call: _called,
    ast.Compare: _compared,
    ast.Constant: _constant,
    ast.Name: _named,
    ast.Return: _returned,
    ast.Set: _set,
    ast.Slice: _sliced,
    ast.UnaryOp: _unary,
}
