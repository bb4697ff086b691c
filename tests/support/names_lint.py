"""What ruff does not refuse: a public class that is defined twice, an array's type outside its one module, a private
name of a dependency, and functions that are too long or take too much (those that numba compiles may: it has no
objects to hand on, and a call costs).
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("agents", "benchmarks", "cli", "data", "engine", "experiments", "loopback", "runtime", "serve")
ARRAYS = Path("engine/core/arrays.py")


MOST_LINES, MOST_PARAMETERS = 80, 10
COMPILERS = re.compile(r"njit|compiled")


def main() -> int:
    """Print what is wrong, a line each; 1 if anything is."""
    classes: defaultdict[str, list[str]] = defaultdict(list)
    wrong = []
    for path in (path for package in PACKAGES for path in sorted(Path(package).rglob("*.py"))):
        module = ast.parse(path.read_text())
        for node in module.body:
            place = f"{path}:{node.lineno}"
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(place)
            if isinstance(node, ast.Assign) and path != ARRAYS and "NDArray[" in ast.unparse(node.value):
                wrong.append(f"{place}: types of arrays are in {ARRAYS}")
        wrong += [f"{path}:{line}: {what}" for line, what in (*private_imports(module), *too_much(module))]
    wrong += [f"{' and '.join(places)}: {name}" for name, places in classes.items() if len(places) > 1]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


def private_imports(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Imports of a private name or module, with their lines."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] + [getattr(node, "module", None) or ""]
            if any(re.search(r"(^|\.)_[a-z]", name) for name in names):
                yield node.lineno, "imports a private name"


def too_much(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Functions that are too long or have too many parameters, with their lines."""
    calls = [
        node for node in ast.walk(module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Call)
    ]
    made = {
        ast.unparse(arg) for call in calls if COMPILERS.search(ast.unparse(call.func)) for arg in call.args
    }
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name in made or any(COMPILERS.search(ast.unparse(each)) for each in node.decorator_list):
            continue
        lines, taken = node.end_lineno - node.lineno + 1, parameters(node.args)
        if lines > MOST_LINES:
            yield node.lineno, f"{node.name} has {lines} lines; at most {MOST_LINES}"
        if taken > MOST_PARAMETERS:
            yield node.lineno, f"{node.name} has {taken} parameters; at most {MOST_PARAMETERS}"


def parameters(given: ast.arguments) -> int:
    """How many there are, the object itself left out."""
    named = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return (
        len(named)
        - (named[:1] in (["self"], ["cls"]))
        + (given.vararg is not None)
        + (given.kwarg is not None)
    )


if __name__ == "__main__":
    sys.exit(main())
