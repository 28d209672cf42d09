"""Pages of notifications, the bell, the admin and the command."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from notifications.models import Notification, count_unread, feed_of, mark_read
from notifications.notify import notify, notify_many
from notifications.views import PER_PAGE
from realtime.feeds.events import FeedHistory
from tests.people import login_of, user_of

LIST = "/notifications/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ann() -> User:
    """Ann, who has read her welcome."""
    user = user_of("ann")
    mark_read(user.pk, 1, Notification.objects.latest("pk").pk)
    return user


def browser_of(name: str) -> Client:
    """Return the browser of a user, with a session."""
    client = Client()
    client.force_login(user_of(name))
    return client


def page(path: str = LIST, name: str = "ann") -> str:
    return browser_of(name).get(path).content.decode()


def texts(html: str) -> list[str]:
    """Return the texts of the listed notifications."""
    return re.findall(r'<a href="/notifications/\d+/" dir="auto">(.*)</a>', html)


def test_new_user_is_welcome() -> None:
    """A notification stands at the beginning of each account."""
    assert texts(page(name="bob")) == ["Welcome, bob!"]
    assert count_unread(user_of("bob").pk) == (1, 1)


def test_deleted_user_leaves_nothing(ann: User) -> None:
    """The notifications and their events end with the account. Those of others stay."""
    feeds = [feed_of(user.pk) for user in (ann, user_of("bob"))]
    notify(ann, "Secret")
    ann.delete()
    assert Notification.objects.get().user == user_of("bob")
    assert FeedHistory.latest(feeds) == {feeds[1]: 1}


def test_list_has_pages(ann: User) -> None:
    """Each notification is on one page, the newest first, and links lead to the others."""
    for number in range(PER_PAGE):
        notify(ann, f"number {number}")
    first = page()
    assert texts(first) == [f"number {n}" for n in reversed(range(PER_PAGE))]
    (older,) = re.findall('rel="next" href="(.*?)"', first)
    second = page(LIST + older)
    assert texts(second) == ["Welcome, ann!"]
    (newer,) = re.findall('rel="prev" href="(.*?)"', second)
    assert texts(page(LIST + newer)) == texts(first)
    assert ("data-first-page" in first, "data-first-page" in second) == (True, False)


def test_list_is_searched_and_escaped(ann: User) -> None:
    """A search finds parts of the user's own texts. HTML in a text is escaped."""
    notify(ann, "<b>Report</b>")
    notify(user_of("bob"), "Report of Bob")
    assert texts(page(f"{LIST}?q=report")) == ["&lt;b&gt;Report&lt;/b&gt;"]
    assert "No notification was found." in page(f"{LIST}?q=nothing")
    assert texts(page(f"{LIST}?after=x"))[0] == "&lt;b&gt;Report&lt;/b&gt;"


def test_opened_notification_is_read(ann: User) -> None:
    """The link leads to the URL, or to the list. That of another user is not found."""
    report, other = notify(ann, "Done", "/reports/"), notify(ann, "Done")
    assert browser_of("bob").get(report.get_absolute_url()).status_code == 404
    for notification, url in ((report, "/reports/"), (other, LIST)):
        assert browser_of("ann").get(notification.get_absolute_url())["Location"] == url
    assert count_unread(ann.pk)[1] == 0


def test_head_request_reads_nothing(ann: User) -> None:
    """Programs that check links leave a notification unread."""
    report = notify(ann, "Done", "/reports/")
    assert browser_of("ann").head(report.get_absolute_url())["Location"] == "/reports/"
    assert count_unread(ann.pk)[1] == 1


def test_all_are_marked_as_read(ann: User) -> None:
    """The button covers what the page showed, and nothing that came later."""
    notify_many([ann] * 3, "Done")
    (last,) = re.findall('name="last" value="(.*?)"', page())
    notify(ann, "Later")
    assert browser_of("ann").post(f"{LIST}read/", {"last": last})["Location"] == LIST
    assert (count_unread(ann.pk)[1], page().count("is-unread")) == (1, 2)  # and a template
    assert browser_of("ann").post(f"{LIST}read/").status_code == 400
    for query in ("?q=Done", f"?after={last}"):  # the list shows a part
        assert 'name="last"' not in page(LIST + query)


def test_bell_is_on_every_page_of_a_user() -> None:
    """Visitors who are not signed in have none."""
    assert 'class="bell"' in page("/")
    assert 'class="bell"' in page("/accounts/password_change/")
    assert 'class="bell"' not in Client().get("/accounts/login/").content.decode()


def test_staff_notify_users_in_the_admin(admin_client: Client, ann: User) -> None:
    """The action asks for a text and a URL, and names what is wrong."""
    users = [ann, user_of("bob")]
    chosen = {"action": "notify_users", "_selected_action": [user.pk for user in users]}
    path = "/admin/accounts/user/"
    assert "Notify selected users" in admin_client.post(path, chosen).content.decode()
    wrong = admin_client.post(path, {**chosen, "text": "Hi", "url": "javascript:alert(1)"})
    assert "Enter a valid URL." in wrong.content.decode()
    admin_client.post(path, {**chosen, "text": "Hi", "url": "/"})
    found = Notification.objects.filter(text="Hi", url="/").values_list("user", flat=True)
    assert sorted(found) == sorted(user.pk for user in users)
    changes = admin_client.get("/admin/notifications/notification/", {"q": "Hi"}).content.decode()
    assert changes.count('class="action-select"') == 2


def test_staff_notify_more_users_than_a_form_has_fields(admin_client: Client) -> None:
    """If all users are selected, the form has the keys of one page only."""
    names = [f"user-{number}" for number in range(1100)]
    users = User.objects.bulk_create(User(username=name, display_name=name) for name in names)
    chosen = {"action": "notify_users", "_selected_action": users[0].pk, "select_across": "1"}
    html = admin_client.post("/admin/accounts/user/", chosen).content.decode()
    assert f"Users ({User.objects.count()}): " in html
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', html))
    admin_client.post("/admin/accounts/user/", {**fields, "text": "Hi"})
    assert Notification.objects.filter(text="Hi").count() == User.objects.count()


def test_staff_withdraw_notifications(admin_client: Client, ann: User) -> None:
    """The texts go from the feed, and an event makes the bells count one less."""
    one, other, kept = notify_many([ann] * 3, "Secret")
    path = "/admin/notifications/notification/"
    admin_client.post(f"{path}{one.pk}/delete/", {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": other.pk, "post": "yes"}
    admin_client.post(path, chosen)
    read = {"type": "read", "first": one.pk, "last": one.pk}
    events = list(FeedHistory(feed_of(ann.pk)).between(2, 9))[::-1]
    assert [event.get("text") for event in events] == [None, None, "Secret", None, None]
    assert events[0] == {**read, "count": 0, "seq": 3}
    assert events[3] == {**read, "count": 1, "seq": 6}
    assert Notification.objects.filter(text="Secret").get() == kept
    assert count_unread(ann.pk) == (7, 1)


def test_action_requires_a_permission(ann: User) -> None:
    """Staff who may not add notifications do not see the action."""
    ann.is_staff = True
    ann.save()
    assert browser_of("ann").get("/admin/accounts/user/").status_code == 403
    for permission, sees in (("view_user", False), ("add_notification", True)):
        ann.user_permissions.add(Permission.objects.get(codename=permission))
        assert ("Notify selected" in page("/admin/accounts/user/")) == sees


def test_command_notifies_one_or_all(ann: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Only active users are notified."""
    call_command("notify", "--user", login_of("ann"), "--url", "/", "One")
    user_of("bob")
    call_command("notify", "All", "--all")
    User.objects.filter(pk=ann.pk).update(is_active=False)
    call_command("notify", "Active", "--all")
    assert capsys.readouterr().out.split(".\n") == [
        "Notified users: 1",
        "Notified users: 2",
        "Notified users: 1",
        "",
    ]
    assert texts(page(name="bob")) == ["Active", "All", "Welcome, bob!"]
    for arguments in ([], ["--user", login_of("ann")], ["--all", "--user", login_of("bob")]):
        with pytest.raises(CommandError):
            call_command("notify", "Text", *arguments)
    with pytest.raises(CommandError, match="Enter a valid URL"):
        call_command("notify", "Text", "--all", "--url", "javascript:alert(1)")
