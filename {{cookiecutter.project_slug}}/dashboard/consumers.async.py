"""Consumer of the dashboard: figures of the last minutes, then those of each second."""

{% if cookiecutter.auth != "none" %}
from dashboard.access import find_staff, key_of, may_watch
{% endif %}
from dashboard.events import FEED, KEPT
from realtime.consumers import RealtimeConsumer
from realtime.feeds.events import FeedHistory
{% if cookiecutter.auth != "none" %}
from realtime.protocol import Close
{% endif %}


class DashboardConsumer(RealtimeConsumer):
    """Socket of a viewer, who sends nothing."""

    own_channel = False  # every event comes through the feed

    async def joined(self) -> None:
{% if cookiecutter.auth == "none" %}
        await self.follow(FEED, FeedHistory(FEED), latest=KEPT)
{% else %}
        if not may_watch(self.user):
            await self.close(Close.NOT_FOUND)
            return
        condition = {"key": key_of(self.user), "find_valid": find_staff}
        await self.follow(FEED, FeedHistory(FEED), latest=KEPT, **condition)
{% endif %}
