"""Mark of tests that change the machine's network interfaces, and of those that this would disturb."""

import pytest

# Chromium fails what it loads with ERR_NETWORK_CHANGED when the machine gets or loses an address, as for a container.
# One process runs all these tests, one after the other.
NETWORK = pytest.mark.xdist_group("network")
