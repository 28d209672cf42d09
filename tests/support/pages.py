"""Recipes of an emitted project, and the commands on its pages."""

import re

RECIPES = (
    "rename-the-rooms",
    "add-a-field",
    "add-a-consumer",
    "add-an-app-by-hand",
    "send-files",
    "publish-from-a-view",
    "sign-in-by-email",
)
FOR_ACCOUNTS = {"publish-from-a-view", "sign-in-by-email"}
JWTS = "sign-in-with-jwts"  # the recipe that adds packages
OTHER_CODE = "bring-other-code"  # one with a package in each section
TESTS = "test-consumers-and-pages"  # another one, with a browser
MOUNTS = "mount-elsewhere"  # another one, which moves what others edit
LANGUAGE = "add-a-language"  # another one, which needs gettext
MODEL = "connect-a-language-model"  # another one, with the sample app of the assistant
DELETE = "delete-the-chat"  # the recipe that leaves nothing for the others


def recipes(auth):
    """Return the recipes of a project. Two need accounts."""
    return [recipe for recipe in RECIPES if auth != "none" or recipe not in FOR_ACCOUNTS]


def prose(text):
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(text):
    """Return a page's headings as GitHub and GitLab write them in links."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page):
    """Yield the file and the heading of each link of a page inside of its project."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            yield (page.parent / name).resolve() if name else page, anchor


def dead_links(project):
    """Return the links of all pages whose file or heading is missing."""
    found = [(page, *link) for page in project.rglob("*.md") for link in links(page)]
    return [
        f"{page.relative_to(project)}: {path}#{anchor}"
        for page, path, anchor in found
        if not path.is_file() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8")))
    ]


def commands(text):
    """Return the lines of a page's blocks of shell commands, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    return [re.sub("  #[^']*$", "", line).strip() for block in blocks for line in block.splitlines()]
