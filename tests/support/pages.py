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


def commands(text):
    """Return the lines of a page's blocks of shell commands, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
