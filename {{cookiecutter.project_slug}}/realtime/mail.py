"""Mails of development."""

from typing import Any

from django.core.mail.backends import console


class EmailBackend(console.EmailBackend):
    """Backend that prints texts as they are written. The encoding of a mail would cut long links."""

    def write_message(self, message: Any) -> None:
        people = ", ".join(message.to)
        self.stream.write(f"To: {people}\nSubject: {message.subject}\n\n{message.body}\n")
        self.stream.write("-" * 79 + "\n")
