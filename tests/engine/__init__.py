"""The engine's own suite, which `test_engine_suites.py` copies into baked projects and runs there."""
