"""Additions to a project's Python files: an import, and an item of a list."""

import ast
import codecs
import contextlib
import re
from pathlib import Path

type Import = ast.Import | ast.ImportFrom


class EditError(Exception):
    """Addition that finds no place, because the file is not as it was generated."""


class Source:
    """Python file of a project, to which lines are added in memory, and written at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added: list[str] = []
        try:
            self.original = path.read_bytes()
        except OSError as error:
            raise EditError("there is no such file") from error
        # Some editors of Windows write a byte order mark, which is kept.
        self.encoding = "utf-8-sig" if self.original.startswith(codecs.BOM_UTF8) else "utf-8"
        try:
            self.lines = self.original.decode(self.encoding).splitlines(keepends=True)
            self.tree = ast.parse("".join(self.lines))
        except (SyntaxError, ValueError) as error:
            raise EditError(f"Python cannot read it ({error})") from error

    def add_import(self, line: str) -> None:
        """Add a line `import <module>` to the block that imports from the engine."""
        module = line.removeprefix("import ")
        if module.partition(".")[0] in self.names():
            raise EditError(f"it uses the name {module.partition('.')[0]}")
        for block in blocks_of_imports(self.tree):
            if any(module_of(node).partition(".")[0] == "realtime" for node in block):
                break
        else:
            raise EditError("it imports nothing from the engine")
        key = natural_key(module)
        index = block[-1].end_lineno or 0
        for node in block:
            if isinstance(node, ast.ImportFrom) or natural_key(module_of(node)) > key:
                index = node.lineno - 1
                break
        self.insert(index, line)

    def add_item(self, name: str, item: str, before: str = "$") -> None:
        """Add an item to a list, before the first one that matches the pattern, or at the end."""
        items = items_of(self.tree, name)
        texts = [ast.unparse(node) for node in items]
        place = next((at for at, text in enumerate(texts) if re.match(before, text)), len(items))
        if not items:
            raise EditError(f"{name} is empty")
        if place < len(items):
            index = items[place].lineno - 1
            while self.lines[index - 1].lstrip().startswith("#"):  # about what follows
                index -= 1
        else:
            index = items[-1].end_lineno or 0
        self.insert(index, f"    {item},")
        texts_now = [ast.unparse(node) for node in items_of(self.tree, name)]
        if len(texts_now) != len(texts) + 1 or texts_now[:place] + texts_now[place + 1 :] != texts:
            raise EditError(f"{name} has items without a line and a comma of their own")

    def names(self) -> set[str]:
        """Return the names that the file uses or imports."""
        used = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        imported = [node for node in ast.walk(self.tree) if isinstance(node, ast.alias)]
        return used.union((node.asname or node.name).partition(".")[0] for node in imported)

    def insert(self, index: int, line: str) -> None:
        newline = "\r\n" if self.lines[0].endswith("\r\n") else "\n"
        self.lines.insert(index, line + newline)
        try:
            self.tree = ast.parse("".join(self.lines))
        except SyntaxError as error:
            raise EditError("its items share lines with something else") from error
        self.added.append(line.strip())

    def write(self) -> None:
        self.path.write_bytes("".join(self.lines).encode(self.encoding))

    def restore(self) -> None:
        """Undo `write`. A file that cannot be opened was not changed."""
        with contextlib.suppress(OSError):
            self.path.write_bytes(self.original)


def blocks_of_imports(tree: ast.Module) -> list[list[Import]]:
    """Return the imports of a module, those on neighbouring lines together."""
    blocks: list[list[Import]] = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if not blocks or node.lineno > (blocks[-1][-1].end_lineno or 0) + 1:
                blocks.append([])
            blocks[-1].append(node)
    return blocks


def module_of(node: Import) -> str:
    """Return the module that is imported, or imported from."""
    return node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name


def items_of(tree: ast.Module, name: str) -> list[ast.expr]:
    """Return the items of a list that a module assigns. Raise EditError without one."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        else:
            continue
        if ast.unparse(target) == name and isinstance(node.value, ast.List):
            return node.value.elts
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
