"""Additions to an emitted project: consumers of each kind, and a process that ends sign-ins."""
