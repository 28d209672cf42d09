"""Files for production and pipelines pass their linters, and agree with the project and each other."""

import itertools
import os
import re
import secrets
import subprocess
from pathlib import PurePath

import httpx
import psycopg
import pytest
import yaml
from support.emitted import SETTINGS, TEMPLATE, bake, clean_environ, run
from support.matrix import CHOICES, PYTHONS, combinations, is_possible, label, spread
from support.servers import Postgres, start_site

SCHEMA = ("check-jsonschema", "--builtin-schema")
YAML_RULES = (
    "{extends: default, rules: {comments: {min-spaces-from-content: 1}, document-start: disable, "
    "line-length: {max: 120}, truthy: {check-keys: false}}}"
)
ZIZMOR = ("zizmor", "--quiet", "--offline", "--persona=auditor", "--min-severity=low")
LINTERS = [
    ("Dockerfile", "hadolint", "--failure-threshold", "style"),
    ("**/*.sh", "shellcheck"),
    (".github/workflows/*", "actionlint", "-shellcheck", "shellcheck"),
    (".github/workflows/*", *ZIZMOR),
    (".github/dependabot.yml", *ZIZMOR),
    (".github/workflows/*", *SCHEMA, "vendor.github-workflows"),
    (".github/dependabot.yml", *SCHEMA, "vendor.dependabot"),
    (".gitlab-ci.yml", *SCHEMA, "vendor.gitlab-ci"),
    ("compose.yaml", *SCHEMA, "vendor.compose-spec"),
    # Without the kinds that are not part of Kubernetes: kustomization.yaml, gateway.yaml and envoy.yaml.
    ("deploy/kubernetes/[!egk]*.yaml", "kubernetes-validate", "--quiet", "--strict"),
    ("**/*.y*ml", "yamllint", "--strict", "-d", YAML_RULES),
]
PORTS = [53, 53, 5432, 6379, 465, 587, 8883]  # of DNS, PostgreSQL, Redis, mail and MQTT
CLUSTER = {"deploy": "kubernetes", "channel_layer": "redis", "database": "postgresql"}
PINNED = re.compile(r"[a-z][\w./-]*:\d[\w.-]*")


def deployments():
    """Yield each valid meeting of deploy, ci and services. Servers take turns, and a cluster has all of them."""
    turns = itertools.cycle(CHOICES["server"])
    for answers in filter(is_possible, combinations("deploy", "ci", "channel_layer", "database")):
        servers = CHOICES["server"] if answers["deploy"] == "kubernetes" else [next(turns)]
        yield from ({**answers, "server": server} for server in servers)


DEPLOYMENTS = spread(deployments(), "auth")
linted = set()


def lint(folder, linters=LINTERS):
    """Return the findings of the linters. A file without findings is not read again in another project."""
    found = []
    for pattern, *command in linters:
        files = {(path.name, *command, path.read_bytes()): path for path in sorted(folder.glob(pattern))}
        new = {key: path.relative_to(folder).as_posix() for key, path in files.items() if key not in linted}
        if not new:
            continue
        command += new.values()
        done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, cwd=folder)
        # kubernetes-validate only warns about an unknown kind.
        if done.returncode or done.stdout.startswith("WARN"):
            found.append(f"{command[0]}: {done.stdout}{done.stderr}")
        else:
            linted.update(new)
    return found


def check_bounds(folder):
    """Check that a workflow may only read the code, and that each of its jobs has a time limit."""
    for path in (folder / ".github" / "workflows").iterdir():
        (workflow,) = documents(path)
        assert workflow["permissions"] == {"contents": "read"}
        assert [job for job in workflow["jobs"].values() if job["timeout-minutes"] > 60 or "permissions" in job] == []


def documents(path):
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def scripts(project):
    """Return the commands of the pipeline, one string per job."""
    if (project / ".gitlab-ci.yml").exists():
        (pipeline,) = documents(project / ".gitlab-ci.yml")
        jobs = [job for job in pipeline.values() if "script" in job]
        return ["\n".join(job["script"] + job.get("after_script", [])) + "\n" for job in jobs]
    (workflow,) = documents(project / ".github" / "workflows" / "ci.yml")
    return ["\n".join(step.get("run", "") for step in job["steps"]) for job in workflow["jobs"].values()]


def images(project):
    """Return all images that are pulled, from every file that names them."""
    found = set()
    if (project / "Dockerfile").exists():
        text = (project / "Dockerfile").read_text(encoding="utf-8")
        stages = set(re.findall(r" AS (\S+)", text))
        found |= set(re.findall(r"^(?:FROM |COPY --from=)(\S+)", text, re.M)) - stages
    if (project / "compose.yaml").exists():
        (compose,) = documents(project / "compose.yaml")
        found |= {service["image"] for service in compose["services"].values() if "build" not in service}
    if (project / ".gitlab-ci.yml").exists():
        (pipeline,) = documents(project / ".gitlab-ci.yml")
        for job in pipeline.values():
            named = [job.get("image"), *job.get("services", [])]
            found |= {image["name"] if isinstance(image, dict) else image for image in named if image}
    if (project / "deploy" / "kubernetes").exists():
        (kustomization,) = documents(project / "deploy" / "kubernetes" / "kustomization.yaml")
        found |= {f"{image['newName']}:{image['newTag']}" for image in kustomization["images"]}
    return found


def parameters():
    for turn, answers in enumerate(DEPLOYMENTS):
        marks = [pytest.mark.quick] if turn % 5 == 0 else []
        yield pytest.param(answers, id=label(answers), marks=marks)


@pytest.mark.quick
def test_no_meeting_is_left_out():
    """Deploy and ci meet every server, and a cluster every sign-in, which changes its manifests."""
    met = {(answers["deploy"], answers["ci"], answers["server"]) for answers in DEPLOYMENTS}
    assert met == {tuple(answers.values()) for answers in combinations("deploy", "ci", "server")}
    clusters = [answers for answers in DEPLOYMENTS if answers["deploy"] == "kubernetes"]
    assert {answers["auth"] for answers in clusters} == set(CHOICES["auth"])


@pytest.mark.parametrize("answers", list(parameters()))
def test_combination_has_no_finding(answers, cookies):
    """Exactly the chosen files exist, every linter passes, and every image has a version."""
    project = bake(cookies, **answers)
    services = {answers["channel_layer"], answers["database"]} & {"redis", "postgresql"}
    wanted = {
        "Dockerfile": answers["deploy"] != "none",
        "compose.yaml": answers["deploy"] != "none" or bool(services),
        ".github/dependabot.yml": answers["ci"] == "github",
        ".github/workflows/ci.yml": answers["ci"] == "github",
        ".github/workflows/update.yml": answers["ci"] == "github",
        ".gitlab-ci.yml": answers["ci"] == "gitlab",
        "deploy/kubernetes/deployment.yaml": answers["deploy"] == "kubernetes",
    }
    assert {name: (project / name).exists() for name in wanted} == wanted
    assert lint(project) == []
    assert [image for image in images(project) if not PINNED.fullmatch(image)] == []
    if answers["ci"] != "none":
        check_pipeline(answers, project, services)


def check_pipeline(answers, project, services):
    """Check that the jobs run the project's own commands with the services of compose.yaml."""
    jobs = scripts(project)
    commands = "".join(jobs)
    assert re.findall(r"^make (\w+)", jobs[0], re.M) == ["setup", "lint", "test"]
    targets = re.search(r"^\.PHONY: (.*)", (project / "Makefile").read_text(encoding="utf-8"))[1].split()
    assert set(re.findall(r"\bmake (\w+)", commands)) <= set(targets)
    assert ("make manifests" in commands) == (answers["deploy"] == "kubernetes")
    assert ("docker compose up --build --wait" in commands) == (answers["deploy"] != "none")
    if answers["ci"] == "gitlab":
        script = subprocess.run(["shellcheck", "--shell=sh", "-"], input=commands, env=clean_environ(), text=True)
        assert script.returncode == 0
        (pipeline,) = documents(project / ".gitlab-ci.yml")
        started = {service["alias"]: service["name"] for service in pipeline["test"].get("services", [])}
    else:
        check_bounds(project)
        check_dependabot(project)
        started = dict.fromkeys("".join(re.findall(r"docker compose up --wait (.*)", commands)).split())
    assert started.keys() == services
    if services:
        (compose,) = documents(project / "compose.yaml")
        assert {name: image or compose["services"][name]["image"] for name, image in started.items()} == {
            name: compose["services"][name]["image"] for name in services
        }


def check_dependabot(project):
    """Check that Dependabot looks weekly for packages and actions, and for images if there are any."""
    (content,) = documents(project / ".github" / "dependabot.yml")
    files = {
        "uv": "pyproject.toml",
        "github-actions": ".github/workflows/ci.yml",
        "docker": "Dockerfile",
        "docker-compose": "compose.yaml",
    }
    assert {update["package-ecosystem"]: update["schedule"]["interval"] for update in content["updates"]} == {
        name: "weekly" for name, file in files.items() if (project / file).exists()
    }
    # Dependabot ignores an ARG (dependabot-core #2057).
    dockerfile = project / "Dockerfile"
    assert not dockerfile.exists() or "$" not in "".join(re.findall(r"^FROM .*", dockerfile.read_text(), re.M))


@pytest.mark.quick
def test_pipeline_of_the_template_has_no_finding():
    """The template's own workflows and script have no findings."""
    check_bounds(TEMPLATE)
    own = [linter for linter in LINTERS if linter[0].startswith(".github")]
    assert lint(TEMPLATE, [*own, (".ci/run", "shellcheck"), (".github/**/*.yml", *LINTERS[-1][1:])]) == []


WORKFLOW = "on: push\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: %s}]}}\n"
MISTAKES = {
    "hadolint": ("Dockerfile", "FROM python\n"),
    "shellcheck": ("a.sh", "#!/bin/sh\necho $x\n"),
    "actionlint": (".github/workflows/a.yml", WORKFLOW % "'echo $x'"),
    "zizmor": (".github/workflows/a.yml", WORKFLOW % "'echo ${{ github.event.issue.title }}'"),
    "check-jsonschema": ("compose.yaml", "services: {a: {imag: b}}\n"),
    "kubernetes-validate": ("deploy/kubernetes/a.yaml", "{kind: Servize, apiVersion: v1}\n"),
    "yamllint": ("a.yaml", "a:  b\n"),
}


@pytest.mark.quick
@pytest.mark.parametrize("linter", MISTAKES)
def test_linter_finds_mistakes(linter, tmp_path):
    """Each linter finds a fault that is planted for it."""
    assert MISTAKES.keys() == {linter[1] for linter in LINTERS}
    name, content = MISTAKES[linter]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    assert [found for found in lint(tmp_path) if found.startswith(f"{linter}: ") and name in found] != []


@pytest.fixture(scope="module")
def cluster(cookies_session):
    """Return a project for a cluster, and its manifests by kind and name."""
    project = bake(cookies_session, **CLUSTER, project_slug="my_site", examples="all")
    folder = project / "deploy" / "kubernetes"
    found = [document for path in sorted(folder.glob("*.yaml")) for document in documents(path)]
    named = {(one["kind"], one.get("metadata", {}).get("name")): one for one in found}
    assert len(named) == len(found)
    return project, named


@pytest.mark.quick
def test_kustomization_names_every_manifest(cluster):
    """kustomization.yaml lists each manifest but the secret, and sets a valid namespace and all images."""
    project, manifests = cluster
    kustomization = manifests["Kustomization", None]
    assert kustomization["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
    assert kustomization.keys() == {"apiVersion", "kind", "namespace", "images", "resources"}
    files = {path.name for path in (project / "deploy" / "kubernetes").glob("*.yaml")}
    assert {*kustomization["resources"], "kustomization.yaml", "secret.example.yaml"} == files
    assert len(kustomization["resources"]) == len(set(kustomization["resources"]))
    assert ("Namespace", kustomization["namespace"]) in manifests
    assert kustomization["namespace"] == "my-site"
    (image,) = kustomization["images"]
    assert {container["image"] for _, container in containers(manifests)} == {image["name"]}
    assert "/deploy/kubernetes/secret.yaml" in (project / ".gitignore").read_text(encoding="utf-8").splitlines()


def pod(manifests, kind="Deployment", name="web"):
    spec = manifests[kind, name]["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]


def containers(manifests):
    """Return each container of each pod, with its pod."""
    for kind, name in manifests:
        if kind not in {"Deployment", "Job", "CronJob"}:
            continue
        one = pod(manifests, kind, name)
        for container in one.get("initContainers", []) + one["containers"]:
            yield one, container


@pytest.mark.quick
def test_pods_have_no_privileges(cluster):
    """Containers run as the image's user, write to /tmp only, and have no access to the cluster's API."""
    project, manifests = cluster
    for one, container in containers(manifests):
        assert one["automountServiceAccountToken"] is False
        assert one["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
        assert one["volumes"] == [{"name": "tmp", "emptyDir": {}}]
        assert container["resources"].keys() == {"requests", "limits"}
    assert re.search(r"^USER 10001\b", (project / "Dockerfile").read_text(encoding="utf-8"), re.M)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "command", "schedule", "loop"),
    [
        ("cleanup", "cleanup", r"\d+ \d+ \* \* \*", "while {}; do sleep 86400; done"),
        # A restart after a failure would come at once.
        ("notifications", "email_unread", r"\*/5 \* \* \* \*", "while true; do {}; sleep 300; done"),
    ],
)
def test_commands_run_regularly(cluster, name, command, schedule, loop):
    """A cron job that never overlaps runs each in a cluster, and a service with pauses in Compose."""
    project, manifests = cluster
    job = manifests["CronJob", name]["spec"]
    assert re.fullmatch(schedule, job["schedule"])
    assert job["concurrencyPolicy"] == "Forbid"
    assert pod(manifests, "CronJob", name)["containers"][0]["command"] == ["python", "manage.py", command]
    (compose,) = documents(project / "compose.yaml")
    service = compose["services"][name]
    assert service["command"] == ["sh", "-c", loop.format(f"python manage.py {command}")]
    assert (service["restart"], service["init"], service["healthcheck"]) == ("unless-stopped", True, {"disable": True})


@pytest.mark.quick
def test_probes_ask_what_is_meant_for_them(cluster):
    """Liveness does not depend on the services, and readiness has time for its answer."""
    project, manifests = cluster
    (web,) = pod(manifests)["containers"]
    paths = {kind: web[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    assert web["readinessProbe"]["timeoutSeconds"] > number(project / "realtime" / "health.py", r"PATIENCE = (\d+)")


def number(path, pattern):
    return int(re.search(pattern, path.read_text(encoding="utf-8"))[1])


@pytest.mark.quick
@pytest.mark.parametrize(
    "answers", [{}, {"channel_layer": "redis", "database": "postgresql", "examples": "all"}], ids=["few", "all"]
)
def test_page_lists_the_images_of_others(answers, cookies):
    """deploy/README.md has a row for each image that the project pulls, and for no other."""
    project = bake(cookies, ci="none", **answers)
    table = (project / "deploy" / "README.md").read_text(encoding="utf-8").partition("### Images\n")[2]
    assert sorted(re.findall(r"^\| `(\S+)` \|", table, re.M)) == sorted(
        image.partition(":")[0] for image in images(project)
    )


@pytest.mark.quick
def test_nginx_limits_each_way_to_sign_in(cookies):
    """The limit names the paths that the project has."""
    limited = {}
    for auth in CHOICES["auth"]:
        text = (bake(cookies, auth=auth) / "deploy" / "nginx.conf").read_text(encoding="utf-8")
        limited[auth] = re.findall(r"location ~ \^/\((\S+)\)/ \{\s+limit_req zone=sign_in", text)
    accounts = "accounts|admin/login"
    assert limited == {"session": [accounts], "token": [f"{accounts}|api/token"], "none": []}


@pytest.mark.quick
def test_ports_agree(cluster):
    """Requests go from the gateway through the Service to the port of the settings, which Prometheus uses too."""
    _, manifests = cluster
    (web,) = pod(manifests)["containers"]
    (port,) = web["ports"]
    assert str(port["containerPort"]) == manifests["ConfigMap", "web"]["data"]["PORT"]
    annotations = manifests["Deployment", "web"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port["containerPort"]),
        "prometheus.io/path": "/metrics",
    }
    service = manifests["Service", "web"]["spec"]
    assert (service["ports"][0]["name"], service["ports"][0]["targetPort"]) == ("http", port["name"])
    labels = manifests["Deployment", "web"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"] == labels
    assert manifests["Deployment", "web"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["PodDisruptionBudget", "web"]["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.quick
@pytest.mark.parametrize("auth", CHOICES["auth"])
def test_gateway_shows_what_is_for_visitors(auth, cookies):
    """Operators' paths go to a Service without pods, all others to the site, and all of them by HTTPS.

    The kinds of Gateway API are not part of Kubernetes, so the validator has no schema of them.
    """
    folder = bake(cookies, **CLUSTER, auth=auth) / "deploy" / "kubernetes"
    (config,) = documents(folder / "configmap.yaml")
    services = {service["metadata"]["name"]: service["spec"] for service in documents(folder / "service.yaml")}
    assert "selector" not in services["nowhere"]
    gateway, redirect, *routes = documents(folder / "gateway.yaml")
    assert {one["apiVersion"] for one in (gateway, redirect, *routes)} == {"gateway.networking.k8s.io/v1"}
    plain, https = gateway["spec"]["listeners"]
    host = config["data"]["ALLOWED_HOSTS"]
    assert (plain["protocol"], https["protocol"], https["hostname"]) == ("HTTP", "HTTPS", host)
    assert config["data"]["ALLOWED_ORIGINS"] == f"https://{host}"
    assert https["tls"] == {"certificateRefs": [{"name": "web-tls"}]}
    (rule,) = redirect["spec"]["rules"]
    assert rule["filters"][0]["requestRedirect"] == {"scheme": "https", "statusCode": 301}
    assert redirect["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"], "sectionName": plain["name"]}]

    paths, lasting = {}, []
    for route in routes:
        assert route["kind"] == "HTTPRoute"
        assert route["spec"]["hostnames"] == [host]
        assert route["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"], "sectionName": https["name"]}]
        for rule in route["spec"]["rules"]:
            (service,) = rule["backendRefs"]
            assert service["port"] in [port["port"] for port in services[service["name"]]["ports"]]
            for match in rule["matches"]:
                path = match["path"]
                paths[path["value"]] = (path.get("type", "PathPrefix"), route["metadata"]["name"], service["name"])
                if rule.get("timeouts") == {"request": "0s"}:
                    lasting.append(path["value"])
    sign_in = {"session": ["/accounts", "/admin/login"], "none": []}
    sign_in["token"] = [*sign_in["session"], "/api/token"]
    assert paths == {
        **dict.fromkeys(["/", "/ws"], ("PathPrefix", "web", "web")),
        "/static": ("PathPrefix", "static", "web"),
        **dict.fromkeys(sign_in[auth], ("PathPrefix", "sign-in", "web")),
        **dict.fromkeys(["/healthz", "/readyz", "/metrics"], ("Exact", "web", "nowhere")),
    }
    assert lasting == ["/ws"]
    assert ("SIGNUP_OPEN" in config["data"]) == (auth != "none")

    policies = {policy["metadata"]["name"]: policy["spec"] for policy in documents(folder / "envoy.yaml")}
    assert {*policies, "web"} == {route["metadata"]["name"] for route in routes}
    for name, policy in policies.items():
        assert policy["targetRefs"] == [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}]
    if sign_in[auth]:
        rules = policies["sign-in"]["rateLimit"]["local"]["rules"]
        networks = [selector["sourceCIDR"] for rule in rules for selector in rule["clientSelectors"]]
        assert networks == [{"type": "Distinct", "value": value} for value in ("0.0.0.0/0", "::/0")]
        assert all(rule["limit"] == {"requests": 300, "unit": "Minute"} for rule in rules)


@pytest.mark.quick
def test_network_lets_through_what_is_needed(cluster):
    """Only the gateway and Prometheus reach the pods, and the pods reach only DNS and the services."""
    _, manifests = cluster
    found = {name: one["spec"] for (kind, name), one in manifests.items() if kind == "NetworkPolicy"}
    nothing, web, services = (found[name] for name in ("nothing", "web", "services"))
    assert len(found) == 3
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = manifests["Deployment", "web"]["spec"]["template"]["metadata"]["labels"]
    assert web["podSelector"]["matchLabels"] == labels
    (rule,) = web["ingress"]
    (origin,) = rule["from"]
    (namespaces,) = origin["namespaceSelector"]["matchExpressions"]
    assert (namespaces["key"], "podSelector" in origin) == ("kubernetes.io/metadata.name", False)
    assert namespaces["values"] == ["envoy-gateway-system", "monitoring"]
    (container,) = pod(manifests)["containers"]
    assert rule["ports"] == [{"port": port["name"]} for port in container["ports"]]
    assert services["podSelector"] == {}  # migrations and the daily job too
    assert [port["port"] for rule in services["egress"] for port in rule["ports"]] == PORTS
    assert (services["policyTypes"], web["policyTypes"]) == (["Egress"], ["Ingress"])


@pytest.mark.parametrize("debug", ["true", "false"])
def test_role_of_the_site_has_few_rights(debug, cluster):
    """The site's role owns its database without being a superuser, and in development may create one for the tests."""
    project, _ = cluster
    server = Postgres()
    server.start()
    try:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute('CREATE DATABASE "my-site"')
        environ = clean_environ(
            PATH=f"{server.programs}{os.pathsep}{os.environ['PATH']}",
            PGHOST="127.0.0.1",
            PGPORT=str(server.port),
            POSTGRES_DB="my-site",
            POSTGRES_PASSWORD='it\'s "quoted"',
            DEBUG=debug,
        )
        run([str(project / "deploy" / "postgresql.sh")], project, environ)
        with psycopg.connect(server.url("my-site")) as connection:
            roles = "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolpassword IS NULL FROM pg_authid"
            found = {name: privileges for name, *privileges in connection.execute(roles)}
        assert found["postgres"] == [True, True, True, True]
        assert found["site"] == [False, False, debug == "true", False]
        with psycopg.connect(server.url("my-site").replace("postgres@", "site@")) as connection:
            connection.execute("CREATE TABLE message (id int)")
    finally:
        server.stop()


@pytest.mark.quick
@pytest.mark.parametrize("database", CHOICES["database"])
def test_backup_is_in_no_image(database, cookies):
    """A backup is written outside of the image's folder, and ignored if it is moved there."""
    project = bake(cookies, deploy="docker", database=database)
    page = (project / "deploy" / "README.md").read_text(encoding="utf-8")
    written = re.findall(r"^\(umask 077; .* > (\S+)\)$", page, re.M)
    commands = "".join(re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S))
    assert len(written) == 1 == len(re.findall(r" > (?!/data/)", commands))  # in the container
    assert not (project / written[0]).resolve().is_relative_to(project)
    ignored = (project / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert f"*{PurePath(written[0]).suffix}" in ignored


@pytest.mark.quick
def test_services_ask_for_passwords(cluster):
    """Redis requires a password, which its health check uses."""
    project, _ = cluster
    (compose,) = documents(project / "compose.yaml")
    redis = compose["services"]["redis"]
    assert "--requirepass ${REDIS_PASSWORD:?is missing in .env}" in " ".join(redis["command"])
    assert redis["environment"] == {"REDISCLI_AUTH": "${REDIS_PASSWORD}"}
    site = compose["x-site"]["environment"]
    assert site["REDIS_URL"] == "redis://:${REDIS_PASSWORD:?is missing in .env}@redis:6379/0"
    assert site["DATABASE_URL"] == "postgresql://site:${POSTGRES_PASSWORD:?is missing in .env}@postgresql:5432/my_site"
    script = "./deploy/postgresql.sh:/docker-entrypoint-initdb.d/site.sh:ro"
    assert script in compose["services"]["postgresql"]["volumes"]
    assert os.access(project / "deploy" / "postgresql.sh", os.X_OK)


@pytest.mark.quick
def test_updates_take_nothing_away(cluster):
    """A new pod is ready before an old one stops, and only the autoscaler sets the number of pods."""
    _, manifests = cluster
    deployment = manifests["Deployment", "web"]["spec"]
    update = deployment["strategy"]["rollingUpdate"]
    assert (update["maxUnavailable"], "replicas" in deployment) == (0, False)
    autoscaler = manifests["HorizontalPodAutoscaler", "web"]["spec"]
    assert autoscaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    assert autoscaler["minReplicas"] > manifests["PodDisruptionBudget", "web"]["spec"]["maxUnavailable"]
    machines = int(manifests["ConfigMap", "web"]["data"]["MACHINES"])
    assert machines == autoscaler["maxReplicas"] + update["maxSurge"]


@pytest.mark.quick
def test_every_deployment_is_updated(cluster):
    """The commands after an update and after a new secret name each deployment."""
    project, manifests = cluster
    readme = (project / "deploy" / "kubernetes" / "README.md").read_text(encoding="utf-8")
    _, update = readme.split("## Update")
    deployments = [f"deployment/{name}" for kind, name in manifests if kind == "Deployment"]
    assert sorted(deployments) == ["deployment/bridge", "deployment/web", "deployment/worker"]
    assert re.findall("rollout status (.+)", update) == deployments
    assert re.findall("rollout restart (.+?)`", update) == [" ".join(deployments)]


@pytest.mark.quick
def test_default_postgresql_has_enough_connections(cluster):
    """The autoscaler's highest number of pods fits PostgreSQL's default limit of connections."""
    project, manifests = cluster
    data = manifests["ConfigMap", "web"]["data"]
    pool = number(project / "realtime" / "environment.py", r'"max_size": (\d+)')
    assert int(data["MACHINES"]) * int(data["WEB_CONCURRENCY"]) * pool < 100


@pytest.mark.quick
@pytest.mark.parametrize("server", CHOICES["server"])
def test_pods_have_time_to_end(server, cookies):
    """All timeouts of a shutdown together are within the grace period."""
    project = bake(cookies, **CLUSTER, server=server)
    manifests = {("Deployment", "web"): documents(project / "deploy" / "kubernetes" / "deployment.yaml")[0]}
    (web,) = pod(manifests)["containers"]
    waits = web["lifecycle"]["preStop"]["sleep"]["seconds"]
    work = number(project / "realtime" / "connection.py", r"PATIENCE = (\d+)")  # for the last frame, and for the outbox
    leave = number(project / "realtime" / "bus.py", r"tasks\.wait\((\d+)\)")
    options = project / "realtime" / "servers" / server / "__init__.py"
    own = number(options, r"(?:graceful\w*|application_close_timeout) ?= ?(\d+)")
    assert pod(manifests)["terminationGracePeriodSeconds"] >= waits + 2 * work + leave + own


def environ_of(manifests, container):
    """Return the variables that Kubernetes would set in a container."""
    sources = {
        "configMapRef": manifests["ConfigMap", "web"]["data"],
        "secretRef": manifests["Secret", "web"]["stringData"],
    }
    assert [source for (source,) in container["envFrom"]] == list(sources)
    return {key: value for data in sources.values() for key, value in data.items()}


@pytest.mark.quick
def test_settings_of_the_cluster_are_known(cluster):
    """.env.example explains each key of ConfigMap and Secret, and no key is in both."""
    _, manifests = cluster
    config, secret = manifests["ConfigMap", "web"]["data"], manifests["Secret", "web"]["stringData"]
    assert config.keys() & secret.keys() == set()
    assert config.keys() | secret.keys() <= SETTINGS
    assert secret.keys() == {"SECRET_KEY", "METRICS_TOKEN", "DATABASE_URL", "REDIS_URL", "EMAIL_URL", "MQTT_URL"}
    assert all("replace-me" in value for value in secret.values())


@pytest.mark.parametrize("server", CHOICES["server"])
def test_manifests_run_the_site(server, cookies, environment, services):
    """The manifests' commands fail with the example secret and before migrations, and succeed afterwards."""
    project = bake(cookies, **CLUSTER, server=server, auth="none")
    (project / ".env").unlink()
    folder = project / "deploy" / "kubernetes"
    found = [document for path in folder.glob("*.yaml") for document in documents(path)]
    manifests = {(one["kind"], one.get("metadata", {}).get("name")): one for one in found}
    python = environment(PYTHONS[0], "6.1") / "bin" / "python"
    (job,), (cleanup,), (migrated,), (web,) = (
        pod(manifests, "Job", "migrate")["containers"],
        pod(manifests, "CronJob", "cleanup")["containers"],
        pod(manifests)["initContainers"],
        pod(manifests)["containers"],
    )

    def call(container):
        command = [str(python), *container["command"][1:]]
        environ = clean_environ(**environ_of(manifests, container))
        return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=60)

    assert {container["command"][0] for container in (job, cleanup, migrated, web)} == {"python"}
    refused = call(web)
    assert (refused.returncode, refused.stderr[:12]) == (1, "SECRET_KEY: "), refused.stderr
    names = [line.partition(":")[0] for line in refused.stderr.splitlines()]
    assert names == ["SECRET_KEY", "DATABASE_URL", "REDIS_URL", "METRICS_TOKEN"]
    secret = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "METRICS_TOKEN": secrets.token_urlsafe(24),
        **services(CLUSTER),
    }
    assert secret.keys() == manifests["Secret", "web"]["stringData"].keys()
    manifests["Secret", "web"]["stringData"] = secret
    assert call(migrated).returncode == 1
    assert call(job).returncode == 0
    assert call(migrated).returncode == 0
    cleaned = call(cleanup)
    assert (cleaned.returncode, cleaned.stdout) == (0, "Deleted 0 messages.\n"), cleaned.stderr
    checked = call({**web, "command": ["python", "manage.py", "check", "--deploy", "--fail-level=WARNING"]})
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr

    environ = clean_environ(**environ_of(manifests, web))
    run([str(python), "manage.py", "collectstatic", "--no-input"], project, environ)
    with start_site([str(python), *web["command"][1:]], project, environ) as site:
        # As the kubelet and Prometheus do, which know only the address.
        bearer = {"Authorization": f"Bearer {secret['METRICS_TOKEN']}"}
        asked = {"/healthz": {}, "/readyz": {}, "/metrics": bearer}
        answers = [httpx.get(f"{site.url}{path}", headers=asked[path], trust_env=False) for path in asked]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        waits = web["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert site.terminate() < pod(manifests)["terminationGracePeriodSeconds"] - waits
