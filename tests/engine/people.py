"""Users of the suite, signed in by Django's own sessions."""

from django.contrib.auth import get_user_model
from django.test import Client


def user_of(name):
    """Return the user of that name, which is created if it is missing."""
    model = get_user_model()
    user, _ = model._default_manager.get_or_create(**{model.USERNAME_FIELD: name})
    return user


def rename(name, new):
    """Give a user another name."""
    model = get_user_model()
    model._default_manager.filter(**{model.USERNAME_FIELD: name}).update(**{model.USERNAME_FIELD: new})


def client_of(name):
    """Return the browser of a user, signed in."""
    client = Client()
    client.force_login(user_of(name))
    return client


def cookies_of(name):
    """Return the cookies of a signed-in user."""
    return client_of(name).cookies


def cookie_header(name):
    """Return the Cookie header of a signed-in user."""
    return "; ".join(f"{key}={cookie.value}" for key, cookie in cookies_of(name).items())
