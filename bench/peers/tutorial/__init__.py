"""Project of the official Channels tutorial, on every server and channel layer."""
