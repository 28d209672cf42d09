"""Checker of the house's English: `python3 -m tools.voice [PATH ...]`.

Prints each banned word and headless opening as `file:line: word: rule: text` and exits with 1 if there is any. Reads
comments, docstrings, messages, test names, pages and markdown of these paths or of the whole repository, and no code.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TEMPLATE = Path(__file__).resolve().parent.parent

# A clause after these is a reason: ", for they may fail".
SUBJECTS = "it|they|we|you|he|she|there|this|that|these|those|who|what|nothing|nobody|somebody|everybody|anybody"
VERBS = "is|are|was|were|has|have|had|may|might|must|can|could|will|would|does|do|did|cannot|needs|knows|keeps|takes"

# Each banned form with the words to use instead.
BANNED = {
    r"hear(s|d|ing)?": "receive, be notified",
    r"listen(s|ed|ing)?\s+to": "subscribe to",
    r"(say|says|said|saying)": "send, state, report, log, name",
    r"(tell|tells|told|telling)": "notify, report, state, distinguish",
    r"let(s|ting)?\s+(\w+\s+){0,3}go": "release, disconnect, close",
    r"(is|are|was|were|be|been|being)\s+away": "is down, is unavailable",
    r"(take|takes|took|taken|taking)\s+((it|them|ones?)\s+)?in(?=\s*[,.;:)]|\s+(by|new|more)\b|\s*$)": "accept, read",
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again",
    r"lest": "so that … not",
    r"shall": "if you need, must, will",
    r"goodbye": "close",
    r"(whoever|whosoever)": "a user who, clients that",
    r"nobody": "no one, no user",
    r"(?<!there )(is|are|was|were)\s+no(?!\s+(longer|(more|less|\w+er)\s+than)\b)(?=\s+[a-z])": "is not a",
    rf"(?<=[,;] )for\s+(?!example\b|instance\b)({SUBJECTS})\s+(\w+\s+)?({VERBS}|\w+s)": "because",
    rf"(?<=[,;] )for\s+(the|a|an|its|their|each|every|any|one|some)\s+(?!.{{0,40}}\b(that|which|who)\b)"
    rf"([\w'-]+\s+){{1,3}}({VERBS})": "because",
}
WORDS = {re.compile(rf"\b{form}\b(?![\w(.=/-]*[(=/])", re.IGNORECASE): use for form, use in BANNED.items()}

HEADLESS = re.compile(r"(What|Who|Whose|Whom|Whoever|Why|How|Which|Where|Whether)\b(?!.*\?\s*$)", re.I | re.S)
VERBLESS = re.compile(r"(The|A|An|Each|Every|All|Any|One|Some|Both|Nothing|Exactly)\b")
LEANING = re.compile(r"(It|They|With|Also|But|The\s+same|Its|Their|And)\b", re.IGNORECASE)

# Where a banned word is right: a part of the path, the text, and the reason.
ALLOWED = {
    ("tools/voice.py", ""): "lists the banned words",
    ("tests/test_voice.py", ""): "has examples of them",
    ("LICENSE", ""): "legal texts of others",
    ("", "UID nobody"): "the name of a Unix account",
}


class Passage(NamedTuple):
    """A piece of prose, the line that it starts on, and its kind."""

    line: int
    text: str
    kind: str  # comment, docstring, message, name, page


def blank(found: re.Match[str]) -> str:
    """Replace code within prose by its line breaks and a mark that no rule matches."""
    return "\u2026" + "\n" * found[0].count("\n")


def without_code(text: str) -> str:
    """Remove code spans, quotations of code, URLs and template tags; keep the line breaks."""
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#|#\}", blank, text, flags=re.S)
    text = re.sub(r"(?<=[\w( ])\{[\w.:/ ()+*!-]+\}", blank, text)  # of an f-string
    return re.sub(r"``.+?``|`[^`]+`|https?://\S+|(?<![\w'])\"[\w./-]+\"(?!\w)", blank, text, flags=re.S)


def python_passages(text: str) -> Iterator[Passage]:
    """Yield comments, docstrings, strings of at least two words, and names of tests."""
    text = re.sub(r"^\s*\{%.*%\}\s*$", "", text, flags=re.M)
    tokens = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            tokens.append(token)
    except (tokenize.TokenError, SyntaxError):
        yield from marked_passages(text, r"#")
        return
    owner, before, is_fixture = "module", tokenize.NEWLINE, False
    comments: list[tokenize.TokenInfo] = []
    for number, token in enumerate(tokens):
        if token.type == tokenize.COMMENT:
            if comments and not continues(comments, token):
                yield comment(comments)
                comments = []
            comments.append(token)
            continue
        if token.type == tokenize.NL:
            continue
        if comments:
            yield comment(comments)
            comments = []
        is_fixture |= token.string == "fixture"
        if token.type == tokenize.NAME and token.string in {"def", "class"} and before != tokenize.OP:
            name = tokens[number + 1].string
            owner = "class" if token.string == "class" or is_fixture else "function"
            owner, is_fixture = "test" if name.startswith("test_") else owner, False
            if owner == "test":
                yield Passage(token.start[0], name.removeprefix("test_").replace("_", " "), "name")
        string = token.string.lstrip("rRbBfFuU").strip("\"'")
        if token.type == tokenize.STRING:
            starts = before in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
            if starts and token.string.lstrip("rR").startswith('"""'):
                yield Passage(token.start[0], string, f"docstring {owner}")
            elif re.search(r"[a-z,] [a-z]+ ", string, re.I) and "\n" not in string:
                yield Passage(token.start[0], string, "message")
        elif tokenize.tok_name[token.type] == "FSTRING_MIDDLE" and re.search(r"[a-z,] [a-z]+", token.string):
            yield Passage(token.start[0], token.string, "message")
        if token.type not in {tokenize.INDENT, tokenize.DEDENT} or before != tokenize.NEWLINE:
            before = token.type
    if comments:
        yield comment(comments)


def continues(comments: list[tokenize.TokenInfo], token: tokenize.TokenInfo) -> bool:
    """Return whether a comment has its own line below the others, in their column."""
    (line, column), last = token.start, comments[-1].start[0]
    return not token.line[:column].strip() and (line, column) == (last + 1, comments[0].start[1])


def comment(tokens: list[tokenize.TokenInfo]) -> Passage:
    """Join comments on consecutive lines."""
    return Passage(tokens[0].start[0], "\n".join(token.string.lstrip("#! ") for token in tokens), "comment")


def marked_passages(text: str, mark: str) -> Iterator[Passage]:
    """Yield comments that run from a mark to the end of the line; those on consecutive lines together."""
    start, lines = 0, []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        own = re.match(rf"\s*(?:{mark})+!?\s?(.*)", line)
        if own:
            start = start if lines else number
            lines.append(own[1])
            continue
        if lines:
            yield Passage(start, "\n".join(lines), "comment")
            lines = []
        if behind := re.search(rf"\s(?:{mark})\s+([^\"']*)$", line):
            yield Passage(number, behind[1], "comment")


def enclosed_passages(text: str, pattern: str, kind: str) -> Iterator[Passage]:
    """Yield what a pattern's first group encloses."""
    for found in re.finditer(pattern, text, re.S):
        line = text.count("\n", 0, found.start(1)) + 1
        yield Passage(line, re.sub(r"^[ \t]*\*", "", found[1], flags=re.M), kind)


def script_passages(text: str) -> Iterator[Passage]:
    """Yield the comments and messages of JavaScript, CSS or C."""
    yield from enclosed_passages(text, r"/\*+(.*?)\*/", "comment")
    yield from marked_passages(text, "//")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith(("//", "*", "/*")):
            for string in re.findall(r"\"([^\"\\]*)\"", line):
                if re.search(r"[a-z,] [a-z]+ ", string):
                    yield Passage(number, string, "message")


def page_passages(text: str) -> Iterator[Passage]:
    """Yield comments of HTML, and its text as one passage."""
    yield from enclosed_passages(text, r"<!--(.*?)-->", "comment")
    yield from enclosed_passages(text, r"\{#(.*?)#\}", "comment")
    text = re.sub(r"<!--.*?-->|<script.*?</script>|<[^>]*>|\{#.*?#\}|\{%.*?%\}", blank, text, flags=re.S)
    yield Passage(1, text, "page")


def markdown_passages(text: str) -> Iterator[Passage]:
    """Yield a page without its blocks of code."""
    yield Passage(1, re.sub(r"^( *)```.*?^\1```$|<!--.*?-->", blank, text, flags=re.M | re.S), "page")


def json_passages(text: str) -> Iterator[Passage]:
    """Yield the strings of more than two words."""
    for number, line in enumerate(text.splitlines(), 1):
        for string in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
            if re.search(r"[a-z,] [a-z]+ ", string) and "{{" not in string:
                yield Passage(number, string, "message")


def passages(path: Path) -> Iterator[Passage]:
    """Yield the prose of a file by its kind; nothing of a binary file, or of a kind without prose."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    suffix = path.suffix.removesuffix("-tpl")  # of a template of a file
    hashes = {".yml", ".yaml", ".toml", ".sh", ".conf", ".cfg", ".example"}
    if suffix == ".py":
        yield from python_passages(text)
    elif suffix in {".js", ".css", ".c"}:
        yield from script_passages(text)
    elif suffix in {".html", ".svg"}:
        yield from page_passages(text)
    elif suffix == ".md":
        yield from markdown_passages(text)
    elif suffix == ".json":
        yield from json_passages(text)
    elif suffix in hashes or path.name.partition(".")[0] in {"Makefile", "Dockerfile", "", "run"}:
        yield from marked_passages(text, "#")


def findings(path: Path, name: str) -> Iterator[str]:
    """Yield a line for each banned form in a file."""
    for line, text, kind in passages(path):
        prose = without_code(text)
        rules = [(pattern, f"not this word, but: {use}") for pattern, use in WORDS.items()]
        found = [(match.start(), match[0], rule) for pattern, rule in rules for match in pattern.finditer(prose)]
        opening = prose.lstrip()
        if kind.startswith(("comment", "docstring")) and (match := HEADLESS.match(opening)):
            found.append((0, match[0], "headless opening"))
        if kind == "docstring function" and (match := VERBLESS.match(opening)):
            found.append((0, match[0], "docstring of a function without a verb"))
        if kind.startswith("docstring") and (match := LEANING.match(opening)):
            found.append((0, match[0], "docstring that leans on the name"))
        for start, word, rule in sorted(found):
            number = line + prose.count("\n", 0, start)
            context = " ".join(prose[max(0, start - 30) : start + 50].split())
            if not any(part in name and what in context for part, what in ALLOWED):
                yield f"{name}:{number}: {' '.join(word.split())}: {rule}: {context}"


def files(arguments: list[str]) -> list[Path]:
    """Return the files of the repository, or those of them below the given paths."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *arguments]
    listed = subprocess.run(command, cwd=TEMPLATE, capture_output=True, check=True, encoding="utf-8").stdout
    return [path for name in sorted(listed.split("\0")) if name and (path := TEMPLATE / name).is_file()]


def main() -> None:
    """Print the findings; exit with 1 if there is any."""
    here = [str(Path(argument).resolve()) for argument in sys.argv[1:]]
    found = [line for path in files(here) for line in findings(path, path.relative_to(TEMPLATE).as_posix())]
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
