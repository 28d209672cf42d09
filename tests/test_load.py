"""Load test of emitted projects, run by its own command against the project."""

import contextlib
import json
import re
import subprocess
import threading

import pytest
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, SIGNED_IN, covering, label
from support.servers import free_port, start_site
from websockets.sync.server import serve

LOAD = ["uv", "run", "python", "-m", "tests.load"]


@pytest.fixture(scope="module")
def environ(environment):
    return environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))


def load(project, environ, *command: str, **variables: str) -> tuple[int, str, str]:
    """Run the load. Return its exit code, report and errors."""
    variables = {"CONNECTIONS": "20", "PER_GROUP": "10", "RATE": "30", "DURATION": "3", **variables}
    done = subprocess.run(command or LOAD, cwd=project, env={**environ, **variables}, capture_output=True, timeout=90)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("answers", covering("auth", "server"), ids=label)
def test_load_is_measured(answers, cookies, environ):
    """Users of each kind sign in, and all their messages are acknowledged and reach the nine others of a room."""
    project = bake(cookies, **answers)
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site(["make", "serve"], project, environ) as site:
        code, report, complaint = load(project, environ, "make", "--silent", "load", f"URL={site.url}")
        assert (code, complaint) == (0, ""), report
    assert "connections   20 of 20 " in report
    sent, acknowledged = map(int, re.search(r"^events +(\d+) sent .*, (\d+) acknowledged$", report, re.M).groups())
    assert sent == acknowledged > 20  # of 90, on a busy machine
    assert f"\ndeliveries    {9 * sent} to others " in report
    assert "\nfaults        0 lost, 0 doubled\nreconnects    0\n" in report
    for row in ("opening", "own event", "others'"):
        times = [float(time) for time in re.search(rf"^  {row} +([\d. ]+)$", report, re.M)[1].split()]
        assert len(times) == 4
        assert times == sorted(times)
    assert re.search(r"^this client   \d+% of a core, \d+% while it opened$", report, re.M)


@pytest.mark.parametrize("auth", CHOICES["auth"])
def test_unreachable_site_makes_one_line(auth, cookies, environ):
    """An unreachable site makes one line, without a traceback or an empty report."""
    url = f"http://127.0.0.1:{free_port()}"
    code, report, complaint = load(bake(cookies, auth=auth), environ, URL=url)
    assert (code, report) == (1, "")
    assert re.fullmatch(f"{url} does not answer: .*refused\n", complaint)


@pytest.mark.parametrize("auth", SIGNED_IN)
def test_users_of_a_file_sign_in_if_sign_up_is_closed(auth, cookies, environ):
    """If sign-up is closed, one line asks for a file of accounts, and one names an account with a wrong password."""
    project = bake(cookies, auth=auth)
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    create = "from django.contrib.auth import get_user_model as m; m().objects.create_user('ann', password='a b')"
    run(["uv", "run", "python", "manage.py", "shell", "-c", create], project, environ)
    accounts = project / "accounts.txt"
    with start_site(["make", "serve"], project, {**environ, "SIGNUP_OPEN": "false"}) as site:
        options = {"URL": site.url, "CONNECTIONS": "4", "RATE": "10", "DURATION": "1"}
        code, report, complaint = load(project, environ, **options)
        assert (code, report, complaint.count("\n")) == (1, "", 1)
        assert complaint.endswith(
            "/accounts/signup/ does not exist. Check URL. If sign-up is closed, open it, or set "
            "ACCOUNTS to a file with a name and a password per line.\n"
        )
        accounts.write_text("ann wrong\n")
        code, report, complaint = load(project, environ, **options, ACCOUNTS=accounts.name)
        assert (code, report, complaint.count("\n")) == (1, "", 1)
        assert "does not accept ann" in complaint
        accounts.write_text("ann a b\n")
        code, report, complaint = load(project, environ, **options, ACCOUNTS=accounts.name)
        assert (code, complaint) == (0, ""), report


@contextlib.contextmanager
def faulty_site(seqs):
    """Serve one room per connection, in which the n-th message is sent with each of `seqs(n)`."""

    def answer_pages(connection, request):
        return None if request.path.startswith("/ws/") else connection.respond(200, "")

    def talk(connection):
        connection.send(json.dumps({"type": "welcome", "seq": 0}))
        for number, frame in enumerate(connection, 1):
            for seq in seqs(number):
                connection.send(json.dumps({"type": "message", "seq": seq, "ref": json.loads(frame)["ref"]}))

    with serve(talk, "127.0.0.1", 0, process_request=answer_pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
    thread.join()


@pytest.mark.parametrize(
    ("seqs", "faults"),
    [
        pytest.param(lambda number: [number], (0, 0), id="right"),
        pytest.param(lambda number: [number, number], (0, 3), id="sent-twice"),
        pytest.param(lambda number: [2 * number - 1, 2 * number], (0, 3), id="stored-twice"),
        pytest.param(lambda number: [number + (number > 1)], (1, 0), id="left-out"),
    ],
)
def test_faults_are_seen(seqs, faults, cookies, environ):
    """Missing and repeated messages are counted, and the command fails."""
    project = bake(cookies, auth="none")
    options = {"CONNECTIONS": "1", "RATE": "3", "DURATION": "0.9"}
    with faulty_site(seqs) as url:
        code, report, complaint = load(project, environ, URL=url, **options)
    assert (code, complaint) == (int(sum(faults) > 0), "")
    assert "events        3 sent " in report
    assert "faults        {} lost, {} doubled\n".format(*faults) in report
