import os
import pathlib
import re
import signal
import subprocess

import jsonschema
import pytest
import yaml

from tests.launch.conftest import ROOT, SHELLCHECK

FOLDER = ROOT / "launch" / "kubernetes"


def fields(required, **optional):
    """Schema of an object that has the required fields and no others than these: a misspelt field is found."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | optional,
        "additionalProperties": False,
    }


def listed(item, most=None):
    return {"type": "array", "items": item, "minItems": 1} | ({"maxItems": most} if most else {})


# The fields used here, as the references of JobSet v1alpha2, batch/v1 Job and core/v1 Pod name them.
TEXT, WHOLE, LABEL = (
    {"type": "string"},
    {"type": "integer", "minimum": 0},
    {"type": "string", "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$"},
)
VOLUME = {"oneOf": [
    fields({"name": LABEL, "persistentVolumeClaim": fields({"claimName": LABEL})}),
    fields({"name": LABEL, "emptyDir": fields({}, medium={"enum": ["", "Memory"]}, sizeLimit=TEXT)}),
]}  # fmt: skip
CONTAINER = fields(
    {"name": LABEL, "image": TEXT},
    command=listed(TEXT),
    args=listed(TEXT),
    ports=listed(fields({"containerPort": WHOLE})),
    resources=fields({"limits": {"type": "object", "additionalProperties": {"type": ["integer", "string"]}}}),
    volumeMounts=listed(fields({"name": LABEL, "mountPath": {"type": "string", "pattern": "^/"}})),
)
POD = fields(
    # a podFailurePolicy allows no other
    {"containers": listed(CONTAINER), "restartPolicy": {"const": "Never"}},
    terminationGracePeriodSeconds=WHOLE,
    volumes=listed(VOLUME),
)
EXIT_CODES = fields({"operator": {"enum": ["In", "NotIn"]}, "values": listed(WHOLE)}, containerName=LABEL)
JOB = fields(
    {"template": fields({"spec": POD})},
    completionMode={"enum": ["NonIndexed", "Indexed"]},
    parallelism=WHOLE,
    completions=WHOLE,
    backoffLimit=WHOLE,
    podFailurePolicy=fields(
        {
            "rules": listed(
                fields(
                    {
                        "action": {"enum": ["FailJob", "FailIndex", "Ignore", "Count"]},
                        "onExitCodes": EXIT_CODES,
                    }
                )
            )
        }
    ),
)
RULE = fields(
    {"action": {"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]}},
    name={"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
    onJobFailureReasons=listed(
        {
            "enum": [
                "BackoffLimitExceeded",
                "DeadlineExceeded",
                "FailedIndexes",
                "MaxFailedIndexesExceeded",
                "PodFailurePolicy",
            ]
        }
    ),
)
JOBSET = fields({
    "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
    "kind": {"const": "JobSet"},
    "metadata": fields({"name": LABEL}),
    "spec": fields(
        {"replicatedJobs": listed(fields({"name": LABEL, "replicas": WHOLE, "template": fields({"spec": JOB})}))},
        failurePolicy=fields({"maxRestarts": WHOLE}, rules=listed(RULE)),
    ),
})  # fmt: skip


@pytest.fixture
def jobset():
    return yaml.safe_load((FOLDER / "jobset.yaml").read_text().replace("$IMAGE", "registry/image:tag"))


@pytest.fixture
def replicated(jobset):
    (job,) = jobset["spec"]["replicatedJobs"]
    return job


@pytest.fixture
def pod(replicated):
    return replicated["template"]["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (container,) = pod["containers"]
    return container


def test_fields_are_those_of_the_references(jobset):
    assert not list(jsonschema.Draft202012Validator(JOBSET).iter_errors(jobset))


def test_the_schema_finds_a_misspelt_field(jobset, replicated):
    replicated["template"]["spec"]["backOffLimit"] = 0
    with pytest.raises(jsonschema.ValidationError, match="backOffLimit"):
        jsonschema.validate(jobset, JOBSET)


def test_numbers_and_names_agree(jobset, replicated, pod, container):
    job, script = replicated["template"]["spec"], container["command"][2]
    assert job["completionMode"] == "Indexed" and job["backoffLimit"] == 0
    assert job["parallelism"] == job["completions"]  # all at once
    (num_processes,) = re.findall(r"--num_processes=(\d+)", script)
    assert replicated["replicas"] * job["completions"] == int(num_processes)
    name = jobset["metadata"]["name"]  # of the headless service, too
    (port,) = [port["containerPort"] for port in container["ports"]]
    assert re.findall(r"--coordinator=(\S+)", script) == [f"{name}-{replicated['name']}-0-0.{name}:{port}"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    (workdir,) = [
        argument.partition("=")[2] for argument in container["args"] if argument.startswith("--workdir=")
    ]
    shared = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "shared"]
    assert pathlib.Path(workdir).is_relative_to(*shared)
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [1]}
    assert pod["terminationGracePeriodSeconds"] >= 120
    (config,) = [
        argument.partition("=")[2] for argument in container["args"] if argument.startswith("--config=")
    ]
    assert (ROOT / config.partition(":")[0]).exists()


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed; requirements-test.txt has it")
def test_shellcheck_finds_nothing_in_its_script(container):
    script = container["command"][2]
    done = subprocess.run(
        [SHELLCHECK, "--shell=bash", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def run_pod(fakes, container):
    """Function (bash script in place of python) -> the container's command, running in the project's folder
    as pod 1.
    """

    def start(program):
        fakes.add("python", program)
        command = [*container["command"], *container["args"], "--config.train.epochs=3 4"]
        return fakes.start(*command, env=fakes.environment | {"JOB_COMPLETION_INDEX": "1"})

    return start


def test_a_pod_runs_its_process(run_pod):
    process = run_pod('printf "%s\\n" "$@"')
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.splitlines() == [
        "-m", "tal_jax.main", "--config=configs/sbhar.py", "--workdir=/shared/runs/sbhar", "--config.train.epochs=3 4",
        "--coordinator=tal-jax-process-0-0.tal-jax:8476", "--num_processes=2", "--process_id=1", "--join_timeout_sec=600",
    ]  # fmt: skip


@pytest.mark.parametrize("code", [1, 70, 134])
def test_a_pod_ends_with_the_code_of_its_process(run_pod, code):
    process = run_pod(f"exit {code}")
    process.communicate(timeout=20)
    assert process.returncode == code


def test_an_evicted_pod_saves_and_is_not_a_success(run_pod):
    process = run_pod('trap "echo saved; exit 0" TERM; echo ready; for i in {1..600}; do sleep 0.1; done')
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)  # the container's first process gets it
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (143, "saved\n")


def test_the_image_holds_what_a_pod_runs(container):
    kept = {
        line[1:]
        for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert kept == {"requirements.txt", "constraints.txt", "tal_jax", "configs", "launch"} and all(
        (ROOT / name).exists() for name in kept
    )
    copied = re.findall(r"^COPY (.+) \.$", (FOLDER / "Dockerfile").read_text(), re.M)
    assert copied == ["requirements.txt constraints.txt", "."]
