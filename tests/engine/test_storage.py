"""Static files in production."""

from django.core.management import call_command


def test_modules_import_each_other_by_their_content(settings, tmp_path):
    """A changed file has a new name, in the imports of other modules too. An import in a comment is a type."""
    page = tmp_path / "source" / "page" / "page.js"
    page.parent.mkdir(parents=True)
    comment = '/** @type {import("../realtime/types").Client} */\n'
    page.write_text(f'{comment}import {{ RealtimeClient }} from "../realtime/client.js";\n')
    settings.STATICFILES_DIRS = [tmp_path / "source"]
    settings.STATIC_ROOT = tmp_path / "collected"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "realtime.storage.StaticStorage"}}
    call_command("collectstatic", interactive=False, verbosity=0)
    [client] = (tmp_path / "collected" / "realtime").glob("client.????????????.js")
    [module] = (tmp_path / "collected" / "page").glob("page.????????????.js")
    code = f'import {{ RealtimeClient }} from "../realtime/{client.name}";\n'
    assert module.read_text() == comment + code
