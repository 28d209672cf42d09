"""Documents of a project's protocol: docs/asyncapi.yaml, docs/protocol.md, and what both have in common."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonschema import Draft7Validator, FormatChecker

DIRECTIONS = {"send": "from the site", "receive": "from the client"}
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    """Return whether a text is a time with an offset, as Python reads it."""
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


class Document:
    """AsyncAPI document of a project."""

    def __init__(self, project: Path) -> None:
        self.content = yaml.safe_load((project / "docs" / "asyncapi.yaml").read_text(encoding="utf-8"))
        self.common: dict[str, Any] = self.content["components"]["messages"]
        self.channels: dict[str, Any] = self.content.get("channels", {})
        self.messages: dict[tuple[str, str], dict[str, Any]] = {}  # by channel and action, and by their names
        for operation in self.content.get("operations", {}).values():
            channel = operation["channel"]["$ref"].rpartition("/")[2]
            names = [message["$ref"].rpartition("/")[2] for message in operation["messages"]]
            found = {name: self.resolve(self.channels[channel]["messages"][name]) for name in names}
            self.messages[channel, operation["action"]] = found

    def resolve(self, node: Any) -> Any:
        """Return a part of the document without references. Objects have no fields but those described."""
        if isinstance(node, list):
            return [self.resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            target = self.content
            for key in node["$ref"].removeprefix("#/").split("/"):
                target = target[key]
            return self.resolve(target)
        closed = {"additionalProperties": False} if "properties" in node else {}
        return closed | {key: self.resolve(value) for key, value in node.items()}

    def names(self) -> set[tuple[str, str, str]]:
        """Return the channel, the action and the name of each message."""
        return {(*place, name) for place, messages in self.messages.items() for name in messages}

    def identify(self, channel: str, action: str, content: Any) -> tuple[str, str, str]:
        """Return the message that the content is. Fail unless it is exactly one."""
        errors, found = {}, []
        for name, message in self.messages[channel, action].items():
            problems = Draft7Validator(message["payload"], format_checker=FORMATS).iter_errors(content)
            if problem := next(problems, None):
                errors[name] = problem.message
            else:
                found.append(name)
        assert len(found) == 1, (channel, content, found, errors)
        return channel, action, found[0]

    def channel_at(self, address: str) -> str:
        """Return the channel of an address with `<name>` in the place of parameters."""
        wanted = re.sub(r"<(\w+)>", r"{\1}", address)
        (channel,) = [name for name, channel in self.channels.items() if channel["address"] == wanted]
        return channel

    def own_events(self, messages: dict[str, Any]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        """Return types and fields of messages, as tables of the page have them."""
        return {event_of(self.resolve(message)["payload"]) for message in messages.values() if "$ref" not in message}


def event_of(schema: dict[str, Any]) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return the type of an event, and its fields with their types."""
    fields = dict(schema["properties"])
    kind = fields.pop("type")["const"]
    types = {name: type_of(field) + "?" * (name not in schema["required"]) for name, field in fields.items()}
    return kind, frozenset(types.items())


def type_of(field: dict[str, Any]) -> str:
    kinds = field.get("type", "any")
    return " or ".join(kinds) if isinstance(kinds, list) else {"array": "list"}.get(kinds, kinds)


class Table(NamedTuple):
    """Table of the page. `socket` is the path in the heading above it, or empty."""

    socket: str
    first: str  # the first word of its head
    rows: list[list[str]]

    def events(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        """Return types and fields of the events with a row of their own."""
        found = set()
        for names, fields, text in self.rows:
            if "(#events)" not in text and (fields or text):
                (kind,) = re.findall(r"`(\w+)`", names)
                found.add((kind, frozenset(re.findall(r"`(\w+)` ([a-z ]+\??)", fields))))
        return found

    def common(self) -> set[str]:
        """Return the names of the events that are explained for every socket."""
        rows = [names for names, fields, text in self.rows if "(#events)" in text or not (fields or text)]
        return set(re.findall(r"`(\w+)`", "".join(rows)))


def tables_of(project: Path) -> Iterator[Table]:
    """Yield the tables of docs/protocol.md."""
    socket, table = "", None
    for line in (project / "docs" / "protocol.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            socket = "".join(re.findall(r"`(/ws/\S+)`", line))
        if not line.startswith("| "):
            if table:
                yield table
            table = None
            continue
        cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        if table is None:
            table = Table(socket, cells[0], [])
        elif not set(line) <= set("|- "):
            table.rows.append(cells)
    if table:
        yield table


def first_cells(project: Path, first: str, pattern: str = r"`([^`]+)`", column: int = 0) -> set[str]:
    """Return the names in a column of the tables whose head begins with this word."""
    tables = [table for table in tables_of(project) if table.first == first]
    return {name for table in tables for row in table.rows for name in re.findall(pattern, row[column])[:1]}
