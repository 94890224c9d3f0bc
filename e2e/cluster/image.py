"""Packs one folder into a container image (docker-archive) of a single layer, without any container tool."""

import argparse
import hashlib
import io
import json
import platform
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer_of(folder: str) -> bytes:
    """The folder as a tar file: the image's only layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        layer.add(folder, arcname=".")
    return buffer.getvalue()


def config_of(layer: bytes, entrypoint: str) -> bytes:
    """The image's configuration, which names its layers by their digest."""
    digest = "sha256:" + hashlib.sha256(layer).hexdigest()
    return json.dumps({
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "User": "65535"},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
        "history": [{}],
    }).encode()


def write_archive(output: str, tag: str, config: bytes, layer: bytes) -> None:
    """The layout that `docker load` and `ctr images import` read."""
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(output, "w") as archive:
        for name, content in ((config_name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="becomes the root of the image")
    parser.add_argument("--tag", required=True, help="name:tag of the image")
    parser.add_argument("--entrypoint", required=True, help="absolute path inside the image")
    parser.add_argument("--output", required=True, help="file to write")
    arguments = parser.parse_args()
    layer = layer_of(arguments.folder)
    write_archive(arguments.output, arguments.tag, config_of(layer, arguments.entrypoint), layer)


if __name__ == "__main__":
    main()
