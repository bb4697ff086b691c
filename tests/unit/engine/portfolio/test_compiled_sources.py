"""numba takes machine code from its cache until a compiled file itself changes, whatever happens to what it imports."""

import re
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
_LAYOUTS = ("engine/portfolio/account.py", "engine/portfolio/policy_columns.py", "engine/core/terms.py")
_ROWS = (*_LAYOUTS, "engine/portfolio/fills.py")
_BLOCKS = ("engine/portfolio/account.py", "engine/portfolio/simd/cache_lines.py")
COMPILED_FROM = {
    "engine/portfolio/fills.py": _LAYOUTS,
    "engine/portfolio/block_figures.py": _BLOCKS,
    "engine/portfolio/kernel.py": (*_ROWS, *_BLOCKS, "engine/portfolio/block_figures.py"),
    "engine/portfolio/performance.py": ("engine/portfolio/account.py",),
    "engine/portfolio/simd/advance.py": (*_ROWS, "engine/core/simd.py", "engine/portfolio/simd/marching.py"),
    "agents/override/outcomes.py": _ROWS,
}


@pytest.mark.parametrize("compiled", COMPILED_FROM)
def test_compiled_file_changes_with_what_it_is_compiled_from(compiled):
    # Without their own marks: two files that are compiled from each other's sources need one change each.
    texts = [
        re.sub(r"\(a test says what\): \w+", "", (ROOT / one).read_text()) for one in COMPILED_FROM[compiled]
    ]
    mark = f"{zlib.crc32(''.join(texts).encode()):08x}"
    assert f"(a test says what): {mark}." in (ROOT / compiled).read_text(), f"write {mark} into {compiled}"
