"""Tasks that a worker runs. `realtime/work/context.py` describes their first argument."""

from django.utils.translation import gettext

from realtime.broadcast import group_name
from realtime.work.context import JobContext, job

CHAPTER_SECONDS = 1.0


def feed_of(user_id: str) -> str:
    """Return the name of the feed that has the events of a user's jobs."""
    return group_name("jobs", user_id)


@job
def prepare_report(context: JobContext, chapters: int) -> str:
    """Write a report, chapter by chapter. Put work of your own in its place, such as an export.

    If the worker is lost, the next one begins after the last chapter that was stored.
    """
    words = context.resume.get("words", 0)
    for chapter in range(context.steps + 1, chapters + 1):
        context.sleep(CHAPTER_SECONDS)  # the work
        words += 100 * chapter
        text = gettext("Chapter %(chapter)s of %(chapters)s is written.")
        context.step(
            text % {"chapter": chapter, "chapters": chapters},
            progress=chapter / chapters,
            resume={"words": words},
        )
    text = gettext("%(chapters)s chapters, %(words)s words")
    return text % {"chapters": chapters, "words": words}
