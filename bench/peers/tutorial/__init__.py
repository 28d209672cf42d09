"""What the official tutorial of Channels builds, on every server and channel layer."""
