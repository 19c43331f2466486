"""`build` as its users see it: real programs, real images, read back by tools that nobody here wrote."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf

if TYPE_CHECKING:
    from conftest import Home

pytestmark = pytest.mark.buildah

SOURCE = Path(__file__).resolve().parents[2]


def layout(home: Home, name: str, place: Path) -> tuple[dict[str, Any], dict[str, Any], list[Path]]:
    """Config, manifest and layer tars of an image, as skopeo writes them out."""
    source = f"containers-storage:localhost/{name}"
    home.run(["buildah", "unshare", "skopeo", "copy", "-q", source, f"dir:{place}"])
    manifest = json.loads((place / "manifest.json").read_text())
    config = json.loads((place / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    layers = [place / layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]]
    return config, manifest, layers


@pytest.mark.compiler
@pytest.mark.podman
def test_the_readmes_program_becomes_one_layer_with_one_file_and_says_hello(
    shared_home: Home, hello: Path, tmp_path: Path
) -> None:
    built = shared_home.json("build", str(hello), "-t", "hello")
    assert built["names"] == ["localhost/hello:latest"]
    assert (built["platform"], built["files"], len(built["diff_ids"])) == ("linux/amd64", 1, 1)
    assert built["backend"] == "buildah"
    ran = shared_home.cli("run", "hello")
    assert (ran.returncode, ran.stdout) == (0, b"Hello World\n")
    config, manifest, (layer,) = layout(shared_home, "hello", tmp_path / "image")
    with tarfile.open(layer) as tar:
        (entry,) = tar.getmembers()
    assert (entry.name, entry.mode & 0o7777, entry.uid, entry.gid, entry.mtime) == ("hello", 0o755, 0, 0, 0)
    assert config["created"] == "1970-01-01T00:00:00Z"
    assert config["config"] == {"Entrypoint": ["/hello"], "User": "65532:65532", "WorkingDir": "/"}
    assert "annotations" not in manifest, "nothing of ours is stamped on the user's image"
    assert (
        built["image_id"]
        == hashlib.sha256((tmp_path / "image" / manifest["config"]["digest"][7:]).read_bytes()).hexdigest()
    )


@pytest.mark.compiler
def test_the_seed_recipe_is_refused_for_both_of_its_bugs_and_nothing_is_built(
    fresh_home: Home, hello: Path, tmp_path: Path
) -> None:
    dynamic = tmp_path / "helloworld"
    subprocess.run(["gcc", "-o", dynamic, SOURCE / "docs/hello.c"], check=True)
    words = ("build", str(dynamic), "-t", "helloworld", "--cmd", '["helloworld"]')
    refused = fresh_home.cli(*words)
    said = refused.stderr.decode()
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert "[needs-loader]" in said
    assert "ld-linux-x86-64.so.2" in said
    assert "[command-not-in-path]" in said
    assert said.count("  fix: ") == 2
    shutil.copy(hello, dynamic)
    assert b"[command-not-in-path]" in fresh_home.cli(*words).stderr
    assert fresh_home.cli(*words[:-2]).returncode == 0
    assert [line.split()[0] for line in images(fresh_home)] == ["localhost/helloworld:latest"]
    assert left_behind(fresh_home) == []


def images(home: Home) -> list[str]:
    """Name and id of every image, dangling ones included."""
    listed = home.run(["buildah", "images", "--all", "--no-trunc", "--format", "{{.Name}}:{{.Tag}} {{.ID}}"])
    return listed.stdout.decode().splitlines()


def left_behind(home: Home) -> list[str]:
    """Working containers, mounts, records and temporary files of ours."""
    containers = home.run(["buildah", "containers", "--all", "--quiet"]).stdout.decode().split()
    records = home.path / ".local/state/rootless-scratch/builds"
    files = [str(path) for path in records.rglob("*") if path.is_file()] if records.exists() else []
    return containers + files + [str(path) for path in home.temporary.iterdir()]


def test_every_option_arrives_in_the_config_as_it_was_said(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    odd = [
        "a b",
        "",
        "x'y",
        'q"r',
        "$HOME",
        "`id`",
        "new\nline",
        "back\\slash",
        "|",
        ";",
        "é",
        "#c",
        "*",
        "-x",
        "b-",
    ]
    words = [
        "build",
        str(program),
        "-t",
        "odd",
        "--entrypoint",
        json.dumps(["/program", *odd]),
        "--cmd",
        json.dumps(odd),
    ]
    for number, value in enumerate(odd):
        words += [
            "--env",
            f"V{number}={value}",
            "--label",
            f"l{number}={value}",
            "--annotation",
            f"a{number}={value}",
        ]
    words += ["--env", "PATH=/bin:${PATH}$", "--env", "_=$_"]
    words += [
        "--user",
        "1:2",
        "--workdir",
        '/a, "b" $c',
        "--mkdir",
        '/a, "b" $c',
        "--port",
        "53/udp",
        "--port",
        "8080",
    ]
    words += [
        "--volume",
        '/v, "w"',
        "--mkdir",
        '/v, "w":uid=1,gid=2',
        "--stop-signal",
        "int",
        "--created",
        "1700000000",
    ]
    assert shared_home.cli(*words).returncode == 0
    config, manifest, _ = layout(shared_home, "odd", tmp_path / "image")
    found = config["config"]
    assert found["Entrypoint"] == ["/program", *odd]
    assert found["Cmd"] == odd
    assert found["Env"] == [
        *(f"V{number}={value}" for number, value in enumerate(odd)),
        "PATH=/bin:${PATH}$",
        "_=$_",
    ]
    assert found["Labels"] == {f"l{number}": value for number, value in enumerate(odd)}
    assert manifest["annotations"] == {f"a{number}": value for number, value in enumerate(odd)}
    assert (found["User"], found["WorkingDir"], found["StopSignal"]) == ("1:2", '/a, "b" $c', "SIGINT")
    assert found["ExposedPorts"] == {"53/udp": {}, "8080/tcp": {}}
    assert found["Volumes"] == {'/v, "w"': {}}
    assert config["created"] == "2023-11-14T22:13:20Z"


def test_metadata_is_exact_and_sources_are_copied_byte_for_byte(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(100_000))
    secret.chmod(0o400)
    words = [
        *("build", f"{program}:/usr/bin/p", "-t", "exact"),
        *("--copy", f"{secret}:/etc/secret:mode=0640,uid=65532,gid=100"),
        *("--copy", f"{program}:/bin/net:mode=4755,cap=cap_net_raw+ep"),
        *("--mkdir", "/tmp:mode=1777", "--mkdir", "/home/me:mode=0700,uid=65532,gid=65532"),
        *("--symlink", "/usr/bin/p:/bin/p", "--symlink", "nowhere:/dangling"),
    ]
    assert shared_home.cli(*words).returncode == 0
    files = {file["path"]: file for file in shared_home.json("inspect", "exact")["files"]}
    shape = {path: (file["type"], file["mode"], file["uid"], file["gid"]) for path, file in files.items()}
    assert shape == {
        "/bin": ("directory", "0755", 0, 0),
        "/bin/net": ("file", "4755", 0, 0),
        "/bin/p": ("symlink", "0777", 0, 0),
        "/dangling": ("symlink", "0777", 0, 0),
        "/etc": ("directory", "0755", 0, 0),
        "/etc/secret": ("file", "0640", 65532, 100),
        "/home": ("directory", "0755", 0, 0),
        "/home/me": ("directory", "0700", 65532, 65532),
        "/tmp": ("directory", "1777", 0, 0),
        "/usr": ("directory", "0755", 0, 0),
        "/usr/bin": ("directory", "0755", 0, 0),
        "/usr/bin/p": ("file", "0755", 0, 0),
    }
    assert files["/etc/secret"]["sha256"] == hashlib.sha256(secret.read_bytes()).hexdigest()
    assert files["/bin/net"]["capabilities"] == "0100000200200000000000000000000000000000"
    assert files["/bin/p"]["target"] == "/usr/bin/p"
    assert {file["mtime"] for file in files.values()} == {0}


def test_names_of_any_bytes_arrive(shared_home: Home, tmp_path: Path) -> None:
    tree = os.fsencode(tmp_path / "tree")
    os.mkdir(tree)
    names = [
        b"with space",
        b"new\nline",
        b"-rf",
        b"'quote\"",
        b"\xff\xfe",
        "ünï".encode(),
        b"$HOME",
        b"a:b",
        b"*",
        b"back\\",
    ]
    for name in names:
        Path(os.fsdecode(tree + b"/" + name)).write_bytes(name)
    program = tmp_path / "-x 'y\"\nz"
    tinyelf.write(program)
    done = shared_home.cli("build", f"{program}:/program", "-t", "names", "--copy", tree + b":/tree")
    assert done.returncode == 0, done.stderr
    files = shared_home.json("inspect", "names")["files"]
    found = {os.fsencode(file["path"]): file for file in files if file["type"] == "file"}
    assert set(found) == {b"/program", *(b"/tree/" + name for name in names)}
    for name in names:
        assert found[b"/tree/" + name]["sha256"] == hashlib.sha256(name).hexdigest()
    assert shared_home.cli("build", "--", program.name, "-t", "x", cwd=tmp_path).returncode == 2, (
        "-t is a program then"
    )
    assert shared_home.cli("build", "-t", "dash", "--", program.name, cwd=tmp_path).returncode == 0
    assert shared_home.cli("inspect", "names").stdout.count(b"\n") < 30, "line breaks in names are shown escaped"


def test_ten_thousand_small_files_and_a_file_of_half_a_gigabyte(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    tree = tmp_path / "tree"
    for number in range(100):
        (tree / str(number)).mkdir(parents=True)
        for each in range(100):
            (tree / str(number) / str(each)).write_text(f"{number}/{each}")
    big = tmp_path / "big"
    with big.open("wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(500):
            file.write(block)
    built = shared_home.json(
        "build", str(program), "-t", "many", "--copy", f"{tree}:/tree", "--copy", f"{big}:/big"
    )
    assert built["files"] == 10_002
    files = {file["path"]: file for file in shared_home.json("inspect", "many")["files"]}
    with big.open("rb") as written:
        assert files["/big"]["sha256"] == hashlib.file_digest(written, "sha256").hexdigest()
    assert files["/tree/99/42"]["sha256"] == hashlib.sha256(b"99/42").hexdigest()
    shared_home.run(["buildah", "rmi", "many"])


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--copy", "secret:/../../outside"], "`..`"),
        (["--mkdir", "/a/../b"], "`..`"),
        (["--copy", "secret:/etc/.wh.passwd"], "`.wh.`"),
        (["--symlink", "/etc:/a", "--copy", "secret:/a/passwd"], "symbolic link"),
        (["--symlink", "..:/a", "--mkdir", "/a/b"], "symbolic link"),
        (["--mkdir", "/program/below"], "is a file in the image"),
        (["--copy", "secret:/program"], "Two different entries"),
        (["--copy", "missing:/x"], "does not exist"),
    ],
)
def test_what_would_leave_the_image_or_contradict_itself_is_refused(
    shared_home: Home, tmp_path: Path, words: list[str], cause: str
) -> None:
    tinyelf.write(tmp_path / "program")
    (tmp_path / "secret").write_text("secret")
    done = shared_home.cli("build", "./program", "-t", "never", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert cause in done.stderr.decode()
    assert done.stderr.count(b"\n  fix: ") == 1
    assert b"Traceback" not in done.stderr
    assert shared_home.run(["buildah", "inspect", "--type", "image", "never"], check=False).returncode != 0


def test_a_link_that_appears_in_the_mount_is_not_followed(shared_home: Home, tmp_path: Path) -> None:
    """The writer itself, not only the plan, refuses to write through links."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from rootless_scratch.backends.jobs import JobEntry\n"
        "from rootless_scratch.backends.worker.entries import Writer\n"
        "entry = JobEntry(type='directory', path='/etc', mode=0o755, uid=0, gid=0)\n"
        "below = JobEntry(type='symlink', path='/etc/x', mode=0o777, uid=0, gid=0, target='y')\n"
        "try:\n    Writer(sys.argv[2], 0, {}).write([entry, below])\n"
        "except FileExistsError:\n    sys.exit(7)\n"
    )
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "etc").symlink_to(outside)
    done = shared_home.run(
        ["buildah", "unshare", sys.executable, "-c", script, str(SOURCE), str(root)], check=False
    )
    assert done.returncode == 7, done.stderr
    assert list(outside.iterdir()) == []


def test_usage_errors_exit_2_and_name_the_option(shared_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "program"))
    for words, cause in (
        ([], b"Nothing to put into the image"),
        ([program], b"--tag"),
        ([program, "-t", "x", "--cmd", "run me"], b'--cmd \'["run", "me"]\''),
        ([program, "-t", "x", "--env", "A"], b"K=V"),
        ([program, "-t", "x", "--copy", "a"], b"does not say where"),
        ([program, "-t", "x", "--mkdir", "/a:mode=999"], b"octal"),
        ([program, "-t", "x", "--squash", "y"], b"No such option"),
    ):
        done = shared_home.cli("build", *words)
        assert (done.returncode, done.stdout) == (2, b""), words
        assert cause in done.stderr, done.stderr
        assert done.stderr.count(b"\n  fix: ") == 1


def test_a_dry_run_prints_the_plan_and_builds_nothing(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    plan = fresh_home.json("build", str(program), "--dry-run")["plan"]
    assert plan["platform"] == "linux/amd64"
    assert plan["config"]["config"]["Entrypoint"] == ["/program"]
    (entry,) = plan["entries"]
    assert (entry["path"], entry["mode"], entry["size"]) == ("/program", "0755", program.stat().st_size)
    assert not (fresh_home.path / ".local/share/containers/storage/vfs-images").exists()
    assert images(fresh_home) == []


@pytest.mark.compiler
def test_no_check_builds_all_the_same_and_says_so_aloud(shared_home: Home, tmp_path: Path) -> None:
    dynamic = tmp_path / "dynamic"
    subprocess.run(["gcc", "-o", dynamic, SOURCE / "docs/hello.c"], check=True)
    done = shared_home.cli("build", str(dynamic), "-t", "forced", "--no-check")
    assert done.returncode == 0
    assert b"[needs-loader]" in done.stderr
    assert b"will not start" in done.stderr
    judged = shared_home.cli("check", "forced", "--json")
    answer = json.loads(judged.stdout)
    assert (judged.returncode, answer["verdict"]) == (1, "fails")
    assert [finding["rule"] for finding in answer["findings"]] == ["needs-loader"]


def test_several_names_are_given_at_once_and_an_old_one_moves(shared_home: Home, tmp_path: Path) -> None:
    first, second = (tinyelf.write(tmp_path / name, text=name.encode()) for name in ("first", "second"))
    one = shared_home.json("build", str(first), "-t", "moving", "-t", "example.org/team/x:1.0")
    assert one["names"] == ["localhost/moving:latest", "example.org/team/x:1.0"]
    two = shared_home.json("build", str(second), "-t", "moving")
    names = dict(line.split() for line in images(shared_home))
    assert names["localhost/moving:latest"].removeprefix("sha256:") == two["image_id"]
    assert names["example.org/team/x:1.0"].removeprefix("sha256:") == one["image_id"]


def test_two_builds_of_one_name_at_the_same_time_both_work(shared_home: Home, tmp_path: Path) -> None:
    programs = [tinyelf.write(tmp_path / name, text=name.encode()) for name in ("one", "two")]
    answers: list[dict[str, Any]] = []
    threads = [
        threading.Thread(
            target=lambda program=program: answers.append(shared_home.json("build", str(program), "-t", "race"))
        )
        for program in programs * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer["image_id"] for answer in answers}) == 2
    assert len(answers) == 6


def test_a_foreign_processor_gives_a_foreign_platform(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program", machine="aarch64")
    assert shared_home.json("build", str(program), "-t", "arm")["platform"] == "linux/arm64/v8"
    config, _, _ = layout(shared_home, "arm", tmp_path / "image")
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm64", "v8")
