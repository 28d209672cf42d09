"""Writer of the template's message catalogs: `python -m tools.messages`, after a text was added or changed.

It bakes projects, lets Django find their texts, and keeps the translations of texts that are still there. Translate
what it lists, in the catalogs of the template, and run it again to compile them.
"""

import tempfile
from collections import defaultdict
from pathlib import Path

from cookiecutter.main import cookiecutter
from support.emitted import BUILD
from support.matrix import TEMPLATE, label
from support.messages import EMITTED, answers_with_texts, catalogs, extract, write


def main() -> None:
    environment = min((BUILD / "environments").glob("python*-django*[0-9]"))
    needed = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for answers in answers_with_texts():
            given = {**answers, "project_slug": label(answers)}
            options = {"no_input": True, "default_config": True, "output_dir": folder}
            project = Path(cookiecutter(str(TEMPLATE), extra_context=given, **options))
            for path in project.glob("**/locale/*/LC_MESSAGES/*"):
                path.unlink()
            for name, entries in extract(project, environment).items():
                needed[name].append((answers, entries))
    write(needed)
    for name, entries in catalogs(EMITTED).items():
        for (_, text, _), entry in entries.items():
            if not all(entry.texts):
                print(f"{name}: {text}")


if __name__ == "__main__":
    main()
