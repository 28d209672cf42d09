"""Layer messages that this process cannot dispatch."""

import logging
import time

QUIET_SECONDS = 60  # log one line within this time, however many messages are dropped

logger = logging.getLogger(__name__)

last_line = -float("inf")
dropped = 0


def drop(reason: str) -> None:
    """Count a malformed layer message. The reason must not repeat what is in the message."""
    global dropped, last_line
    # The layer is imported before there are workers, and the metrics must not be: prometheus_client
    # looks for PROMETHEUS_MULTIPROC_DIR when it is imported.
    from realtime import metrics

    metrics.MALFORMED.inc()
    dropped += 1
    if time.monotonic() - last_line > QUIET_SECONDS:
        logger.warning("Malformed layer messages dropped: %d (%s)", dropped, reason)
        dropped, last_line = 0, time.monotonic()


def drop_foreign(kind: str) -> None:
    """Count a layer message that `group_send` sent to a joined group. Log its type."""
    drop(
        f"{kind[:100]!r} was sent to a group that consumers joined. "
        "Use publish(), or group_add() with a handler"
    )
