"""VOC's XML annotations: boxes by hand, and files that are not of VOC's form."""

from __future__ import annotations

import pytest

from deconvnet_cli.data.annotations import read_annotation
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError


def annotation(*objects: str) -> str:
    return f"<annotation><size><width>9</width></size>{''.join(objects)}</annotation>"


def one(name: str = "cat", box: str = "1 2 3 4", more: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=False)
    inside = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name>{more}<bndbox>{inside}</bndbox></object>"


PART = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
EASY, HARD = (one(more=f"<difficult>{number}</difficult>") for number in (0, 1))


@pytest.mark.parametrize("objects, boxes", [
    # VOC's 1 2 3 4 is three columns and three rows, from column 0 and row 1 on.
    ((one(), one("person", "5.0 5.0 5.0 5.0")), [(8, (0, 1, 3, 4)), (15, (4, 4, 5, 5))]),
    ((HARD, EASY), [(8, (0, 1, 3, 4))]),  # difficult objects are left out
    ((one("person", more=PART),), [(15, (0, 1, 3, 4))]),  # boxes of parts are not objects
])  # fmt: skip
def test_boxes_count_from_0_and_are_half_open(tmp_path, objects, boxes):
    path = tmp_path / "a.xml"
    path.write_text(annotation(*objects))
    assert read_annotation(path, CLASSES) == boxes


@pytest.mark.parametrize("text, words", [
    (annotation(one("unicorn")), "unknown class 'unicorn'"),
    (annotation(one(box="1 2 3")), "no box of four numbers"),
    (annotation(one(box="1 2 3 nan")), "no box of four numbers"),
    (annotation(one(box="4 2 3 4")), "ends before it begins"),
    ("<annotation>", "not readable as XML"),
    ("", "not readable as XML"),
    ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "declares a document type"),
    ('<?xml version="1.0" encoding="no-such-code"?><annotation/>', "not readable as XML"),
])  # fmt: skip
def test_what_is_not_of_vocs_form_is_refused(tmp_path, text, words):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"a\.xml") as caught:
        read_annotation(path, CLASSES)
    assert words in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_document_type_does_not_hide_in_utf_16(tmp_path, encoding):
    path = tmp_path / "a.xml"
    text = '<!DOCTYPE a [<!ENTITY b "cat">]>' + annotation(one("&b;"))
    path.write_text(text, encoding=encoding)
    with pytest.raises(DatasetError, match=r"a\.xml: .*save it as UTF-8"):
        read_annotation(path, CLASSES)


def test_a_missing_file(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_annotation(tmp_path / "none.xml", CLASSES)
