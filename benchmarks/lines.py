"""Count lines of code, and find functions that are long, branched or have many arguments.

    python benchmarks/lines.py [SOURCE]

A line of code holds a token that is neither a comment nor part of a docstring. Complexity is McCabe's, counted by ruff.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

MOST_LINES, MOST_ARGUMENTS = 80, 8
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(text: str) -> int:
    """Lines of a module that hold code."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SKIPPED:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def large_functions(path: Path) -> list[str]:
    """Functions above the limits, one line each."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([a for a in arguments if a.arg not in ("self", "cls")])
            if length > MOST_LINES or count > MOST_ARGUMENTS:
                found.append(f"{path}:{node.lineno} {node.name}: {length} lines, {count} arguments")
    return found


def main() -> None:
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "src/labelwise")
    files = sorted(source.rglob("*.py"))
    lines: Counter[str] = Counter()
    for file in files:
        parts = file.relative_to(source).parts
        lines[parts[0] if len(parts) > 1 else "(top)"] += code_lines(file.read_text())
    for package, count in sorted(lines.items()):
        print(f"{count:7,}  {package}")
    print(f"{lines.total():7,}  all")
    for file in files:
        for line in large_functions(file):
            print(line)


if __name__ == "__main__":
    main()
