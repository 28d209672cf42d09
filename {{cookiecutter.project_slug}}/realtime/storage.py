"""Static files with a hash in their names, in the imports of ES modules too."""

import re
from collections.abc import Callable
from typing import Any

from servestatic.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    support_js_module_import_aggregation = True

    def url_converter(self, *arguments: Any, **options: Any) -> Callable[[re.Match[str]], str]:
        """Return the function that replaces an URL, unless it stands in a comment.

        Django 5.2 would look for the files of types, such as `@type {import("./types").Client}`.
        """
        convert = super().url_converter(*arguments, **options)

        def convert_code(found: re.Match[str]) -> str:
            before = found.string[: found.start()]
            in_comment = before.rfind("/*") > before.rfind("*/")
            return found[0] if in_comment else convert(found)

        return convert_code
