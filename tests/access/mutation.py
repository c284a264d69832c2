"""Takes the checks of a function out, one at a time."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any


def without_each_check(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the function without one of its `if ...: raise`, and the condition that it had."""
    source = textwrap.dedent(inspect.getsource(function))
    checks = [node for node in ast.walk(ast.parse(source)) if _is_check(node)]
    for number in range(len(checks)):
        tree = ast.parse(source)
        check = [node for node in ast.walk(tree) if _is_check(node)][number]
        assert isinstance(check, ast.If)
        condition = ast.unparse(check.test)
        check.test = ast.copy_location(ast.Constant(value=False), check.test)
        space: dict[str, Any] = {}
        exec(compile(tree, f"<without {condition}>", "exec"), function.__globals__, space)
        yield condition, space[function.__name__]


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(isinstance(child, ast.Raise) for child in node.body)
