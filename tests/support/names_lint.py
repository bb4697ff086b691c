"""One name, one meaning: refuses a public class that is defined twice, and an array's type outside its one module."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

PACKAGES = ("agents", "benchmarks", "cli", "data", "engine", "experiments", "loopback", "runtime", "serve")
ARRAYS = Path("engine/core/arrays.py")


def main() -> int:
    """Print what is wrong, a line each; 1 if anything is."""
    classes: defaultdict[str, list[str]] = defaultdict(list)
    wrong = []
    for path in (path for package in PACKAGES for path in sorted(Path(package).rglob("*.py"))):
        for node in ast.parse(path.read_text()).body:
            place = f"{path}:{node.lineno}"
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(place)
            if isinstance(node, ast.Assign) and path != ARRAYS and "NDArray[" in ast.unparse(node.value):
                wrong.append(f"{place}: types of arrays are in {ARRAYS}")
    wrong += [f"{' and '.join(places)}: {name}" for name, places in classes.items() if len(places) > 1]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
