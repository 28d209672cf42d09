"""Engine for real-time features: sockets, groups, presence, limits, and an orderly end."""

__version__ = "1.0.0"
