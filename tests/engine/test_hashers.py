"""Password hashing, bounded in this process."""

import threading
import time

import pytest
from django.contrib.auth.hashers import check_password, make_password
from django.http import HttpResponse
from django.test import RequestFactory

from realtime.auth import hashers
from realtime.auth.throttle import TooManyRequestsMiddleware


class SlowHasher:
    """Hasher that takes until it is released, and knows how many run at the same time."""

    running = most = 0
    lock = threading.Lock()
    released = threading.Event()

    def encode(self, password):
        with self.lock:
            SlowHasher.running += 1
            SlowHasher.most = max(SlowHasher.most, SlowHasher.running)
        self.released.wait(10)
        with self.lock:
            SlowHasher.running -= 1
        return password


class BoundedSlowHasher(hashers.BoundedHashing, SlowHasher):
    pass


def hash_at_once(count, refused):
    """Hash in as many threads, until some were refused. Return what each of them got."""
    results = []
    SlowHasher.released.clear()

    def work():
        try:
            results.append(BoundedSlowHasher().encode("password"))
        except hashers.Busy as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    while len(results) < refused:
        time.sleep(0.01)
    SlowHasher.released.set()
    for thread in threads:
        thread.join()
    return results


def test_hashing_leaves_a_core_free():
    """Few hashes run at the same time, few wait, and the others are refused at once."""
    results = hash_at_once(hashers.at_once + hashers.WAITING + 3, refused=3)
    assert SlowHasher.most == hashers.at_once
    assert results.count("password") == hashers.at_once + hashers.WAITING
    assert [type(result) for result in results if result != "password"] == [hashers.Busy] * 3
    assert hash_at_once(1, refused=0) == ["password"]


def test_bounded_hashes_are_djangos(settings):
    """Passwords that Django's own hasher stored stay valid, and the other way round."""
    for one, other in (("django.contrib", "realtime"), ("realtime", "django.contrib")):
        settings.PASSWORD_HASHERS = [f"{one}.auth.hashers.PBKDF2PasswordHasher"]
        stored = make_password("password")
        settings.PASSWORD_HASHERS = [f"{other}.auth.hashers.PBKDF2PasswordHasher"]
        assert check_password("password", stored)


@pytest.mark.parametrize("kind", ["*/*", "application/json"])
def test_programs_get_json(kind):
    """The answer has the seconds to wait. Other errors pass."""
    middleware = TooManyRequestsMiddleware(lambda request: HttpResponse())
    request = RequestFactory().get("/", headers={"Accept": kind})
    answer = middleware.process_exception(request, hashers.Busy(5))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.content == b'{"error": "Too many people are signing in. Try again in 5 seconds."}'
    assert middleware.process_exception(request, ValueError()) is None
