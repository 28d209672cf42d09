"""Additions to a project's Python files: an import, and an item of a list."""

import ast
import re
from pathlib import Path


class EditError(Exception):
    """Addition that finds no place, because the file is not as it was generated."""


class Source:
    """Python file of a project, to which lines are added in memory, and written at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added: list[str] = []
        try:
            self.lines = path.read_bytes().decode().splitlines(keepends=True)
        except OSError as error:
            raise EditError("there is no such file") from error
        self.tree = ast.parse("".join(self.lines))

    def names(self) -> set[str]:
        """Return the names that the file uses or imports."""
        used = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        imported = [node for node in ast.walk(self.tree) if isinstance(node, ast.alias)]
        return used.union((node.asname or node.name).partition(".")[0] for node in imported)

    def add_import(self, module: str) -> None:
        """Add an import to the block that imports from the engine. Raise EditError without one."""
        block: list[ast.Import | ast.ImportFrom] = []
        for node in self.tree.body:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if block and node.lineno > (block[-1].end_lineno or 0) + 1:
                if has_engine(block):
                    break
                block = []
            block.append(node)
        if not has_engine(block):
            raise EditError("no import from the engine shows the place")
        key = natural_key(module)
        following = next(
            node
            for node in block
            if isinstance(node, ast.ImportFrom) or natural_key(node.names[0].name) > key
        )
        self.insert(following.lineno - 1, f"import {module}")
        self.added.append(f"import {module}")

    def add_item(self, name: str, item: str, before: str = "$") -> None:
        """Add an item to a list, before the first one that matches the pattern, or at the end.

        Raise EditError unless each item has lines of its own.
        """
        items = items_of(self.tree, name)
        texts = [ast.unparse(node) for node in items]
        place = next((at for at, text in enumerate(texts) if re.match(before, text)), len(items))
        if place < len(items):
            index = items[place].lineno - 1
            while self.lines[index - 1].lstrip().startswith("#"):  # about what follows
                index -= 1
        elif items:
            index = items[-1].end_lineno or 0
        else:
            raise EditError(f"{name} is empty")
        self.insert(index, f"    {item},")
        changed = [ast.unparse(node) for node in items_of(self.tree, name)]
        if len(changed) != len(texts) + 1 or changed[:place] + changed[place + 1 :] != texts:
            raise EditError(f"{name} needs a line and a comma for each item")
        self.added.append(item)

    def insert(self, index: int, line: str) -> None:
        newline = "\r\n" if self.lines[0].endswith("\r\n") else "\n"
        self.lines.insert(index, line + newline)
        try:
            self.tree = ast.parse("".join(self.lines))
        except SyntaxError as error:
            raise EditError("its lines are not as they were generated") from error

    def write(self) -> None:
        self.path.write_bytes("".join(self.lines).encode())


def has_engine(block: list[ast.Import | ast.ImportFrom]) -> bool:
    """Return whether a block of imports has one from the engine."""
    modules = [node.module or "" for node in block if isinstance(node, ast.ImportFrom)]
    return any(module.partition(".")[0] == "realtime" for module in modules)


def items_of(tree: ast.Module, name: str) -> list[ast.expr]:
    """Return the items of a list that a module assigns. Raise EditError without one."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if [ast.unparse(target) for target in targets] == [name]:
            value = getattr(node, "value", None)
            if isinstance(value, ast.List):
                return value.elts
    raise EditError(f"{name} is not a list")


def natural_key(module: str) -> list[tuple[int, int]]:
    """Return what ruff sorts the imports of a block by. Numbers in names count as numbers."""
    parts = re.findall(r"\d+|\D", module)
    return [(ord("0"), int(part)) if part.isdigit() else (ord(part), 0) for part in parts]


def sort_imports(text: str) -> str:
    """Sort neighbouring lines that import names from modules."""

    def sort(found: re.Match[str]) -> str:
        lines = found[0].splitlines(keepends=True)
        return "".join(sorted(lines, key=lambda line: natural_key(line.split()[1])))

    return re.sub(r"(?:^from \S+ import .*\n)+", sort, text, flags=re.M)
