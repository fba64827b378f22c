"""The manifests of deploy/kubernetes: built by kustomize, held against the API's schemas and against the code.

No cluster is asked. The schemas of ServiceMonitor and InferenceService are not part of Kubernetes; of the latter the
pod is checked by Kubernetes' own schema, and the rest of both by hand.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client import REGISTRY

from clustnet import __version__
from serving.gate import Limits
from serving.keys.key_file import KeyFile
from serving.keys.keys import make_key
from serving.metrics import metrics
from serving.routes import ENDPOINTS, METRICS
from serving.settings import PREFIX, Settings
from tests.serving.server import running_service

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy" / "kubernetes"
PAGE = (REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
OVERLAYS = ("base", "cpu", "gpu", "kserve")
# Kinds of other projects than Kubernetes.
OWN_SCHEMA = {"ServiceMonitor", "InferenceService"}
# preStop.sleep is on since 1.30.
RELEASES = ("1.30", kubernetes_validate.latest_version())
# Beside the fields of a pod.
OF_KSERVE = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
OPEN = {endpoint.path for endpoint in ENDPOINTS if endpoint.scope is None}
GO_SECONDS = re.compile(r"(\d+)s")

Manifest = dict[str, Any]


def kustomize_version() -> tuple[int, ...]:
    """Return the version in kubectl, (0,) without kubectl; Debian 12's kubectl 1.20 holds 2.0."""
    if not shutil.which("kubectl"):
        return (0,)
    said = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"Kustomize Version: v([\d.]+)", said)
    return tuple(map(int, found.group(1).split("."))) if found else (0,)


pytestmark = pytest.mark.skipif(
    kustomize_version() < (4,), reason="there is no kubectl with kustomize 4 or newer (kubectl 1.22 or newer)"
)


def kustomize(folder: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "", "kustomize warns of what is deprecated"
    return list(yaml.safe_load_all(done.stdout))


@cache
def built(overlay: str) -> list[Manifest]:
    return kustomize(FOLDER / overlay)


def the(kind: str, manifests: list[Manifest]) -> Manifest:
    (manifest,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return manifest


def pod_of(overlay: str) -> Manifest:
    """Return the pod's spec of an overlay; of KServe's predictor what is a pod's."""
    if overlay != "kserve":
        return the("Deployment", built(overlay))["spec"]["template"]["spec"]
    predictor = the("InferenceService", built(overlay))["spec"]["predictor"]
    return {name: value for name, value in predictor.items() if name not in OF_KSERVE}


def container_of(overlay: str) -> Manifest:
    (container,) = pod_of(overlay)["containers"]
    return container


def environment_of(overlay: str) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container_of(overlay)["env"]}


def probes_of(overlay: str) -> list[Manifest]:
    return [container_of(overlay)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]


def page_overlays() -> dict[str, str]:
    """Return the kustomizations that the page shows, by their folder."""
    return dict(re.findall(r"```yaml\n# deploy/kubernetes/([\w-]+)/kustomization.yaml\n(.*?)```", PAGE, re.DOTALL))


def build_page_overlay(name: str, folder: Path) -> list[Manifest]:
    shutil.copytree(FOLDER, folder / "kubernetes")
    # One overlay builds on another.
    for other, kustomization in page_overlays().items():
        own = folder / "kubernetes" / other
        own.mkdir()
        (own / "kustomization.yaml").write_text(kustomization)
    return kustomize(folder / "kubernetes" / name)


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return request.param


def check_schemas(manifests: list[Manifest], release: str) -> None:
    for manifest in manifests:
        if manifest["kind"] not in OWN_SCHEMA:
            kubernetes_validate.validate(manifest, release, strict=True)


def test_objects_fit_oldest_and_newest_release(overlay: str, release: str) -> None:
    check_schemas(built(overlay), release)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "clustnet"}, "spec": pod_of(overlay)}
    kubernetes_validate.validate(pod, release, strict=True)


def test_a_misspelt_field_does_not_fit(release: str) -> None:
    deployment = json.loads(json.dumps(the("Deployment", built("base"))))
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 50
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        check_schemas([deployment], release)


def test_the_overlays_hold_what_they_should() -> None:
    core = ["Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"]
    kinds = {name: sorted(manifest["kind"] for manifest in built(name)) for name in OVERLAYS}
    everything = sorted([*core, "NetworkPolicy", "ServiceMonitor"])
    assert kinds == {"base": core, "cpu": everything, "gpu": everything, "kserve": ["InferenceService"]}
    assert {manifest["metadata"]["namespace"] for name in OVERLAYS for manifest in built(name)} == {"clustnet"}


@pytest.mark.parametrize("name", page_overlays())
def test_the_pages_overlays_can_be_built(name: str, tmp_path: Path) -> None:
    manifests = build_page_overlay(name, tmp_path)
    check_schemas(manifests, RELEASES[-1])
    pod = the("Deployment", manifests)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example.org/clustnet:0.1.0-cpu"
    mounts = [mount["name"] for mount in pod["containers"][0]["volumeMounts"]]
    assert sorted(mounts) == sorted(volume["name"] for volume in pod["volumes"])
    variables = [variable["name"] for variable in pod["containers"][0]["env"]]
    assert {name.removeprefix(PREFIX).lower() for name in variables} <= set(Settings.model_fields)


@pytest.mark.parametrize(("command", "shown"), re.findall(r"^\$ (.*)\n((?:(?!\$|```).*\n)+)", PAGE, re.MULTILINE))
def test_the_pages_commands_print_what_it_shows(command: str, shown: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == shown


def test_overlays_and_commands_of_the_page_exist() -> None:
    assert set(page_overlays()) == {"mine", "with-keys", "bundles"}
    assert PAGE.count("\n$ ") == 2
    for folder in re.findall(r"kubectl apply -k deploy/kubernetes/([\w-]+)", PAGE):
        assert (FOLDER / folder).is_dir() or folder in page_overlays()
    assert (
        (REPOSITORY / "deploy/kubernetes/prometheus/adapter-values.yaml")
        .as_posix()
        .endswith(re.search(r"--values (\S+)", PAGE).group(1))
    )


def test_images_are_of_this_version() -> None:
    tags = {name: container_of(name)["image"] for name in ("cpu", "gpu", "kserve")}
    assert tags == {
        "cpu": f"clustnet:{__version__}-cpu",
        "gpu": f"clustnet:{__version__}-gpu",
        "kserve": f"clustnet:{__version__}-cpu",
    }


def test_variables_are_settings_with_values_that_they_take(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {name: value for name, value in environment_of(overlay).items() if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in own} <= set(Settings.model_fields)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.workers, settings.threads) == (1, 1)
    assert settings.device == {"base": "auto", "gpu": "cuda"}.get(overlay, "cpu")


def test_ports_are_the_one_that_the_image_serves(overlay: str) -> None:
    port = int(re.search(r"^EXPOSE (\d+)", DOCKERFILE, re.MULTILINE).group(1))
    assert re.search(rf'"--port", "{port}"|BENTOML_PORT={port}\b', DOCKERFILE)
    (container_port,) = container_of(overlay)["ports"]
    assert container_port["containerPort"] == port
    assert {probe["port"] for probe in probes_of(overlay)} <= {port, container_port["name"]}
    if overlay == "kserve":
        return
    (service_port,) = the("Service", built(overlay))["spec"]["ports"]
    assert service_port["targetPort"] == container_port["name"]
    policies = [manifest["spec"] for manifest in built(overlay) if manifest["kind"] == "NetworkPolicy"]
    let_in = {way["port"] for policy in policies for rule in policy["ingress"] for way in rule["ports"]}
    assert let_in == {port}
    if overlay != "base":
        (endpoint,) = the("ServiceMonitor", built(overlay))["spec"]["endpoints"]
        assert (endpoint["port"], endpoint["path"]) == (service_port["name"], METRICS.path)


def test_probes_need_no_key(overlay: str) -> None:
    assert {probe["path"] for probe in probes_of(overlay)} <= OPEN


def test_a_pod_has_time_to_drain(overlay: str) -> None:
    """The grace counts from the beginning of preStop; the last seconds are for the processes to end."""
    drain = int(re.search(r'"--timeout-graceful-shutdown", "(\d+)"', DOCKERFILE).group(1))
    before = container_of(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod_of(overlay)["terminationGracePeriodSeconds"] >= before + drain + 5


def test_pods_keep_to_the_restricted_pod_security_standard(overlay: str) -> None:
    pod, container = pod_of(overlay), container_of(overlay)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    inside = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == inside
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert [set(volume) for volume in pod["volumes"]] == [{"name", "emptyDir"}]


def test_the_user_is_the_images(overlay: str) -> None:
    user = int(re.search(r"^USER (\d+)", DOCKERFILE, re.MULTILINE).group(1))
    assert pod_of(overlay)["securityContext"]["runAsUser"] == user


def test_written_files_are_a_bounded_memory_share(overlay: str) -> None:
    (volume,) = pod_of(overlay)["volumes"]
    (mount,) = container_of(overlay)["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": "/tmp"}  # noqa: S108
    home = re.search(r"BENTOML_HOME=(\S+)", DOCKERFILE).group(1)
    assert home.startswith("/tmp/")  # noqa: S108
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}


def test_pods_have_no_cluster_rights_or_variables(overlay: str) -> None:
    """A Service named clustnet would set CLUSTNET_PORT and the like."""
    assert pod_of(overlay)["automountServiceAccountToken"] is False
    assert pod_of(overlay)["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", ["base", "cpu", "gpu"])
def test_selectors_find_the_pods_and_the_service(overlay: str) -> None:
    deployment, service = the("Deployment", built(overlay)), the("Service", built(overlay))
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    pod = pod_of(overlay)
    policies = [manifest["spec"] for manifest in built(overlay) if manifest["kind"] == "NetworkPolicy"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        the("PodDisruptionBudget", built(overlay))["spec"]["selector"]["matchLabels"],
        *[policy["podSelector"]["matchLabels"] for policy in policies],
        *[spread["labelSelector"]["matchLabels"] for spread in pod["topologySpreadConstraints"]],
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)
    if overlay != "base":
        monitor = the("ServiceMonitor", built(overlay))["spec"]
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["jobLabel"] in service["metadata"]["labels"]


@pytest.mark.parametrize("overlay", ["base", "cpu", "gpu"])
def test_only_the_autoscaler_sets_its_replicas(overlay: str) -> None:
    deployment, scaler = the("Deployment", built(overlay)), the("HorizontalPodAutoscaler", built(overlay))["spec"]
    reference = {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert scaler["scaleTargetRef"] == reference
    assert 1 < scaler["minReplicas"] < scaler["maxReplicas"]
    assert "replicas" not in deployment["spec"]
    assert "cpu" in container_of(overlay)["resources"]["requests"], "utilisation is of what is requested"


def test_the_in_flight_metric_exists() -> None:
    (rule,) = yaml.safe_load((FOLDER / "prometheus" / "adapter-values.yaml").read_text())["rules"]["custom"]
    series, labels = re.fullmatch(r"(\w+)\{(.*)\}", rule["seriesQuery"]).groups()
    sums = {f"{metric.name}_sum" for metric in REGISTRY.collect() if metric.type == "histogram"}
    assert series in sums
    assert series == f"{metrics.SECONDS.describe()[0].name}_sum"
    assert set(re.findall(r'(\w+)!=""', labels)) == set(rule["resources"]["overrides"]) == {"namespace", "pod"}
    assert rule["metricsQuery"] == "sum by (<<.GroupBy>>) (rate(<<.Series>>{<<.LabelMatchers>>}[1m]))"
    for name in ("cpu", "gpu"):
        (metric,) = [metric["pods"] for metric in autoscaler_metrics(name) if metric["type"] == "Pods"]
        assert metric["metric"]["name"] == rule["name"]["as"]
        assert 0 < int(metric["target"]["averageValue"]) < Limits().requests


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool (Debian's package prometheus)")
def test_the_adapters_query_adds_up_a_pods_paths(tmp_path: Path) -> None:
    """One pod spends 4 and 2 seconds of requests a second, another 1; the adapter fills in what is in << >>."""
    (rule,) = yaml.safe_load((FOLDER / "prometheus" / "adapter-values.yaml").read_text())["rules"]["custom"]
    series = rule["seriesQuery"].partition("{")[0]
    filling = {"<<.Series>>": series, "<<.LabelMatchers>>": 'namespace="clustnet",pod=~"a|b"', "<<.GroupBy>>": "pod"}
    query = rule["metricsQuery"]
    for gap, filled in filling.items():
        query = query.replace(gap, filled)
    seconds = {("a", "/predict"): 60, ("a", "/v2/infer"): 30, ("b", "/predict"): 15, ("c", "/predict"): 15}
    given = [
        {"series": f'{series}{{namespace="clustnet",pod="{pod}",path="{path}"}}', "values": f"0+{each}x8"}
        for (pod, path), each in seconds.items()
    ]
    wanted = [{"labels": '{pod="a"}', "value": 6}, {"labels": '{pod="b"}', "value": 1}]
    test = {"interval": "15s", "input_series": given}
    test["promql_expr_test"] = [{"expr": query, "eval_time": "2m", "exp_samples": wanted}]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def autoscaler_metrics(overlay: str) -> list[Manifest]:
    return the("HorizontalPodAutoscaler", built(overlay))["spec"]["metrics"]


def test_the_scrapes_are_close_enough_for_the_rate() -> None:
    """A rate needs two scrapes in its window, also when one fails; the pattern is that of the operator's schema."""
    (endpoint,) = the("ServiceMonitor", built("cpu"))["spec"]["endpoints"]
    interval, patience = (int(GO_SECONDS.fullmatch(endpoint[name]).group(1)) for name in ("interval", "scrapeTimeout"))
    assert patience <= interval
    assert 3 * interval <= 60


def test_a_gpu_is_asked_for_and_demanded() -> None:
    assert container_of("gpu")["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert environment_of("gpu")["CLUSTNET_DEVICE"] == "cuda"
    rolling = the("Deployment", built("gpu"))["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 0, "maxUnavailable": 1}
    assert not [name for name in ("base", "cpu", "kserve") if "nvidia.com/gpu" in json.dumps(built(name))]


def test_kserve_finds_the_model() -> None:
    service = the("InferenceService", built("kserve"))
    bundle = json.loads((REPOSITORY / "models" / "mnist" / "manifest.json").read_text())
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "Standard"}
    assert service["metadata"]["name"] == bundle["name"]
    assert container_of("kserve")["name"] == "kserve-container"
    assert environment_of("kserve")["PROTOCOL"] == "v2"
    scaling = service["spec"]["predictor"]
    assert (scaling["scaleMetric"], 1 < scaling["minReplicas"] < scaling["maxReplicas"]) == ("cpu", True)


def test_kserves_container_is_that_of_the_cpu_overlay() -> None:
    ours, theirs = container_of("cpu"), container_of("kserve")
    for name in ("image", "resources", "securityContext", "lifecycle", "volumeMounts"):
        assert theirs[name] == ours[name], name
    for name in ("securityContext", "volumes", "terminationGracePeriodSeconds"):
        assert pod_of("kserve")[name] == pod_of("cpu")[name], name


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The shipped bundle, served with the environment of a pod of the CPU overlay."""
    with running_service(REPOSITORY / "models" / "mnist", **environment_of("cpu")) as url:
        yield url


def test_the_service_answers_what_probes_and_scrapes_ask(service: str) -> None:
    paths = {probe["path"] for name in OVERLAYS for probe in probes_of(name)}
    name = the("InferenceService", built("kserve"))["metadata"]["name"]
    for path in [*paths, METRICS.path, f"/v2/models/{name}", f"/v2/models/{name}/ready"]:
        assert httpx.get(service + path).status_code == 200, path


def test_the_seconds_of_requests_are_counted(service: str) -> None:
    blank = {"images": [[[0] * 28] * 28]}
    assert httpx.post(f"{service}/predict", json=blank).status_code == 200
    told = httpx.get(service + METRICS.path).text
    assert float(re.search(r'^clustnet_request_seconds_sum\{path="/predict"\} (\S+)$', told, re.MULTILINE).group(1)) > 0


def test_keys_follow_a_secret_that_changes(tmp_path: Path) -> None:
    """As the kubelet does it: each state is a folder, and a link to the newest is renamed over the last."""
    mounted = tmp_path / "api-keys"
    mounted.mkdir()
    variable, volume = api_keys_patch()
    (mounted / Path(variable).name).symlink_to(f"..data/{Path(variable).name}")
    assert (Path(variable).parent.as_posix(), volume) == ("/etc/clustnet/api-keys", "clustnet-api-keys")
    secrets = []
    for state in ("..one", "..two"):
        (mounted / state).mkdir()
        secret, key = make_key("client", ["predict"])
        secrets.append(secret)
        (mounted / state / Path(variable).name).write_text(key.line() + "\n")
    point(mounted, "..one")
    keys = KeyFile(mounted / Path(variable).name, look_seconds=0)
    assert [bool(keys.find(secret)) for secret in secrets] == [True, False]
    point(mounted, "..two")
    assert [bool(keys.find(secret)) for secret in secrets] == [False, True]


def api_keys_patch() -> tuple[str, str]:
    """Return the keys' path and the Secret's name."""
    patch = yaml.safe_load((FOLDER / "api-keys" / "deployment-patch.yaml").read_text())
    pod = patch["spec"]["template"]["spec"]
    ((variable,), (volume,)) = pod["containers"][0]["env"], pod["volumes"]
    return variable["value"], volume["secret"]["secretName"]


def point(mounted: Path, state: str) -> None:
    fresh = mounted / "..data_tmp"
    fresh.symlink_to(state)
    os.replace(fresh, mounted / "..data")  # noqa: PTH105
