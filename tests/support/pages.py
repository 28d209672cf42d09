"""Recipes of an emitted project, and the commands that its pages give."""

import re

RECIPES = ("rename-the-rooms", "add-a-field", "add-a-consumer", "publish-from-a-view")


def commands(text):
    """The lines of the blocks of shell commands on a page, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
