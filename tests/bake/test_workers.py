"""What a worker is sent and sends back is compared with its digest, and what is not that is never used."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.errors import BuildError, SourceError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.spec import spec_of
from rootless_scratch.image.write.layer import NONE
from rootless_scratch.image.write.layout import add_to_layout
from rootless_scratch.progress import SILENT
from rootless_scratch.ship.access import Access
from rootless_scratch.verbs.build import plan_spec
from rootless_scratch.verbs.farm.delivery import deliver
from rootless_scratch.verbs.farm.sources import PARCEL, Sources
from rootless_scratch.verbs.farm.work import DIFFERS, PACKAGE, Lacking, Made, Order, makers
from rootless_scratch.verbs.farm.worker import make
from rootless_scratch.verbs.ship import read_outputs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sent(tmp_path: Path) -> tuple[Order, list[bytes], Path]:
    """An order with all sources in parcels, and the file of one of them, of more than one parcel."""
    tinyelf.write(tmp_path / "server")
    data = tmp_path / "data"
    data.write_bytes(os.urandom(PARCEL + 5000))
    words = {"programs": [str(tmp_path / "server")], "copy": [f"{data}:/data"], "essentials": ["tmp"]}
    plans, _ = plan_spec(spec_of(words), check=True, output=("oci:x",), backend=None, compress=None)
    parcels: list[bytes] = []
    with HostFiles() as files:
        sources = Sources(files, bytes)
        digests = sources.digests(plans)
        spans, handles = sources.send(plans, digests, digests.values())
        parcels.extend(each for each in handles if isinstance(each, bytes))
    return Order(plans=plans, digests=digests, compression=NONE, spans=spans), parcels, data


def answer_to(order: Order, parcels: list[bytes]) -> Any:  # noqa: ANN401 - whatever the worker answers
    _, (answer,) = make(makers(("none",)), pickle.dumps([order]), parcels)
    return answer


def digest_of_build(data: Path) -> str:
    program = data.with_name("server")
    output = f"oci:{data.parent}/single"
    return rs.build(program, copy=[f"{data}:/data"], essentials=["tmp"], output=output).digest


def test_an_image_of_parcels_is_that_of_the_files(sent: tuple[Order, list[bytes], Path], tmp_path: Path) -> None:
    order, parcels, data = sent
    expected = digest_of_build(data)
    data.unlink()
    made = answer_to(order, parcels)
    assert made.image.digest == expected
    outputs = read_outputs((f"oci:{tmp_path}/out:a", f"oci-archive:{tmp_path}/a.tar"), None)
    image = deliver(made, outputs, access=Access(), progress=SILENT, add=add_to_layout)
    assert [each.digest for each in image.outputs] == [expected, expected]
    for output in image.outputs:
        assert rs.check(output.ref).verdict == "starts"


def test_a_file_of_other_bytes_is_lacking_though_its_size_is_right(sent: tuple[Order, list[bytes], Path]) -> None:
    order, _, data = sent
    digest = order.digests[str(data)]
    with data.open("r+b") as file:
        file.seek(100)
        file.write(b"other bytes")
    answer = answer_to(order.but(spans={}), [])
    assert answer.digests == {digest}
    data.unlink()
    assert answer_to(order.but(spans={}), []).digests == {digest}


def test_a_parcel_that_was_damaged_on_the_way_is_lacking(sent: tuple[Order, list[bytes], Path]) -> None:
    order, parcels, data = sent
    data.unlink()
    damaged = [parcels[0][:-1] + bytes([parcels[0][-1] ^ 1]), *parcels[1:]]
    answer = answer_to(order, damaged)
    assert isinstance(answer, Lacking)
    assert order.digests[str(data)] in answer.digests


def test_what_was_damaged_on_the_way_back_is_not_written(
    sent: tuple[Order, list[bytes], Path], tmp_path: Path
) -> None:
    order, parcels, data = sent
    data.unlink()
    made = answer_to(order, parcels)
    (image,) = made.sent
    first = image.layers[0][0]
    outputs = read_outputs((f"oci:{tmp_path}/out:a",), None)
    for other in (
        image.but(layers=((first[:-1] + b"!", *image.layers[0][1:]),)),
        image.but(config=image.config.replace(b"amd64", b"arm64")),
        image.but(manifest=image.manifest + b" "),
    ):
        wrong = Made(made.image, manifest=other.manifest, sent=(other,))
        error = refusal(
            lambda: deliver(wrong, outputs, access=Access(), progress=SILENT, add=add_to_layout),  # noqa: B023
            BuildError,
        )
        assert "not what its manifest says" in error.message
    assert not (tmp_path / "out").exists()


def test_a_worker_of_other_programs_reads_nothing(sent: tuple[Order, list[bytes], Path]) -> None:
    _, parcels, _ = sent
    for name in (PACKAGE, "isal"):
        others = {**makers(("none", "gzip")), name: "0.0.1"}
        kind, answer = make(others, b"no pickle at all", parcels)
        assert (kind, answer) == (DIFFERS, (name, makers(("gzip",))[name]))


def test_a_source_that_changes_before_it_is_sent_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"x" * 100_000)
    tinyelf.write(tmp_path / "server")
    spec = spec_of({"programs": [str(tmp_path / "server")], "copy": [f"{data}:/data"]})
    plans, _ = plan_spec(spec, check=True, output=("oci:x",), backend=None, compress=None)
    with HostFiles() as files:
        sources = Sources(files, lambda content: content)
        digests = sources.digests(plans)
        data.write_bytes(b"y" * 100_000)
        refusal(lambda: sources.send(plans, digests, digests.values()), SourceError)
