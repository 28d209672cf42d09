"""Mails: the name of the site in them, and a backend for development."""

from html import unescape
from typing import Any

from django.core.mail.backends import console
from django.template.loader import render_to_string


def site_name() -> str:
    """Return the name of the site as plain text, from the template that its pages show, too."""
    return unescape(render_to_string("site_name.html")).strip()


class EmailBackend(console.EmailBackend):
    """Backend that prints texts as they are written. The encoding of mails cuts long links."""

    def write_message(self, message: Any) -> None:
        people = ", ".join(message.to)
        self.stream.write(f"To: {people}\nSubject: {message.subject}\n\n{message.body}\n")
        self.stream.write("-" * 79 + "\n")
