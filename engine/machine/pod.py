"""Which service this machine is rented from, and what survives there when it is stopped.

Only the presence of variables, files and mounts is looked at; no value is read, so no token is either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.machine.model import Pod
from engine.machine.mounts import Mount


@dataclass(frozen=True, slots=True)
class _Provider:
    """How to recognise a provider, and its rules about disks and money.

    ``kept`` lists ``(folder, words, must be a mount of its own)``.
    """

    key: str
    name: str
    variables: tuple[str, ...]
    files: tuple[str, ...]
    mount_sources: tuple[str, ...]
    kept: tuple[tuple[str, str, bool], ...]
    elsewhere_persistent: bool
    elsewhere: str
    billing: str


_PROVIDERS = (
    _Provider(
        "runpod",
        "RunPod",
        ("RUNPOD_POD_ID", "RUNPOD_POD_HOSTNAME", "RUNPOD_DC_ID"),
        ("etc/rp_environment", "runpod-volume"),
        (".runpod.net",),
        (
            (
                "/workspace",
                "RunPod volume: kept when the pod is stopped. A network volume is kept even when "
                "the pod is deleted.",
                True,
            ),
            ("/runpod-volume", "RunPod network volume: kept when the pod is deleted.", True),
        ),
        False,
        "RunPod container disk: lost as soon as the pod is stopped or restarted.",
        "The GPU is billed until you stop the pod on the RunPod page; a shutdown from inside does "
        "not end it.",
    ),
    _Provider(
        "vast",
        "Vast.ai",
        ("VAST_CONTAINERLABEL", "VAST_TCP_PORT_22", "VAST_INSTANCE_ID"),
        ("root/.vast_containerlabel",),
        (),
        (),
        True,
        "Vast.ai instance disk: kept while the instance is stopped, deleted when it is destroyed.",
        "The GPU is billed until you stop the instance on the Vast.ai page; its disk is billed until "
        "you destroy it.",
    ),
    _Provider(
        "autodl",
        "AutoDL",
        ("AutoDLContainerUUID", "AutoDLDataCenter", "AutoDLRegion"),
        ("root/autodl-tmp",),
        (),
        (
            (
                "/root/autodl-tmp",
                "AutoDL data disk: kept while the instance is switched off, deleted when it is released.",
                False,
            ),
            ("/root/autodl-fs", "AutoDL file storage: kept and shared between instances.", False),
        ),
        True,
        "AutoDL system disk: kept while the instance is switched off, but small.",
        "The GPU is billed until you switch the instance off on the AutoDL page.",
    ),
    _Provider(
        "lambda",
        "Lambda",
        (),
        ("lambda/nfs", "etc/lambda-stack-version"),
        (),
        (("/lambda/nfs", "Lambda file system: kept when the instance is terminated.", False),),
        False,
        "Lambda instance disk: deleted when the instance is terminated, and it cannot be paused.",
        "The instance is billed until you terminate it on the Lambda page.",
    ),
    _Provider(
        "paperspace",
        "Paperspace",
        ("PAPERSPACE_FQDN", "PAPERSPACE_NOTEBOOK_REPO_ID", "PAPERSPACE_METRIC_WORKLOAD_ID"),
        (),
        (),
        (
            ("/notebooks", "Paperspace notebook folder: kept when the notebook is stopped.", False),
            ("/storage", "Paperspace shared storage: kept and shared between notebooks.", False),
        ),
        False,
        "Paperspace container disk: lost when the notebook is stopped.",
        "The machine is billed until you stop it on the Paperspace page.",
    ),
    _Provider(
        "kaggle",
        "Kaggle",
        ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"),
        ("kaggle/working",),
        (),
        (),
        False,
        "Kaggle session disk: only what a saved version of the notebook keeps from /kaggle/working survives.",
        "Kaggle gives a weekly quota of GPU hours; a session ends by itself after some hours.",
    ),
    _Provider(
        "colab",
        "Google Colab",
        ("COLAB_RELEASE_TAG", "COLAB_GPU", "COLAB_JUPYTER_IP"),
        ("content/sample_data",),
        (),
        (("/content/drive", "Google Drive: kept.", True),),
        False,
        "Colab session disk: lost when the runtime disconnects.",
        "Compute units are used until you disconnect and delete the runtime.",
    ),
    _Provider(
        "lightning",
        "Lightning AI",
        ("LIGHTNING_CLOUD_PROJECT_ID", "LIGHTNING_CLOUD_SPACE_ID"),
        ("teamspace/studios",),
        (),
        (("/teamspace", "Lightning Studio folder: kept when the Studio sleeps.", False),),
        False,
        "Outside /teamspace nothing is certain to survive when the Studio sleeps.",
        "The machine is billed until you stop the Studio.",
    ),
)


def detect_pod(environ: Mapping[str, str], mounts: Sequence[Mount], root: Path = Path("/")) -> Pod | None:
    """The provider this machine seems to be rented from; None for an ordinary machine.

    Login shells on a pod often lack the variables the container was started with, so files and mounts
    count as evidence too.

    Args:
        environ: The environment; only its keys are used.
        mounts: The mounted file systems.
        root: Where ``/`` is.
    """
    for provider in _PROVIDERS:
        evidence = _evidence(provider, environ, mounts, root)
        if evidence:
            kept = tuple(
                (Path(folder), words)
                for folder, words, needs_mount in provider.kept
                if not needs_mount or any(mount.point == Path(folder) for mount in mounts)
            )
            return Pod(
                provider.key,
                provider.name,
                evidence,
                kept,
                provider.elsewhere_persistent,
                provider.elsewhere,
                provider.billing,
            )
    return None


def _evidence(
    provider: _Provider, environ: Mapping[str, str], mounts: Sequence[Mount], root: Path
) -> str | None:
    for variable in provider.variables:
        if variable in environ:
            return f"the variable {variable} is set"
    for file in provider.files:
        # Path.exists() raises for a folder an ordinary user may not look into, such as /root.
        if os.path.exists(root / file):
            return f"/{file} exists"
    for source in provider.mount_sources:
        for mount in mounts:
            if source in mount.source:
                return f"{mount.point} comes from a server of {provider.name}"
    return None
