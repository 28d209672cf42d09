"""Channel layers: settings of the one in use, and the one in the memory of a process."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer

from realtime.conf import settings


def channel_layers(redis_hosts: Sequence[Any], redis_prefix: str) -> dict[str, Any]:
    """Return CHANNEL_LAYERS for these hosts of Redis. Without hosts the layer is in memory."""
    if redis_hosts:
        layer: dict[str, Any] = {
            "BACKEND": "realtime.redis.layer.PipelinedRedisChannelLayer",
            "CONFIG": {"hosts": redis_hosts, "prefix": f"{redis_prefix}:"},
        }
    else:
        layer = {
            "BACKEND": "realtime.layers.QuickInMemoryChannelLayer",
            # One channel carries all groups, for as long as the process lives.
            "CONFIG": {"capacity": 10_000, "group_expiry": 10 * 365 * 24 * 3600},
        }
    return {"default": layer}


async def probe() -> None:
    """Use the channel layer. Raise an error that names each host of Redis that fails."""
    if settings.REDIS_HOSTS:
        from realtime.redis.layer import probe_hosts

        await probe_hosts()


class QuickInMemoryChannelLayer(InMemoryChannelLayer):
    """Channels' own layer, without a task for each delivery, and with one cleanup per second."""

    cleaned_at = 0.0

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.require_valid_group_name(group)
        self._clean_expired()
        for channel in list(self.groups.get(group, ())):
            with contextlib.suppress(ChannelFull):
                await self.send(channel, message)

    def _clean_expired(self) -> None:
        now = time.monotonic()
        if now - self.cleaned_at >= 1:
            self.cleaned_at = now
            super()._clean_expired()  # type: ignore[misc]
