"""The orientation in EXIF and XMP, however odd these are."""

import pytest
from pictures import exif

from torchloupe.data.image.orientation import (
    exif_orientation,
    find_exif_orientation,
    find_xmp_orientation,
)


@pytest.mark.parametrize(
    ("block", "orientation"),
    [
        (b"", 1),
        (b"II*\0", 1),
        (b"II*\0\x08\0\0\0", 1),
        (b"II*\0\xff\xff\xff\xff\x01\0", 1),  # the table lies behind the end
        (b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", 6),
        (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0", 8),
        (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0", 1),
        (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0", 1),
    ],
)
def test_exif_orientation_is_1_where_the_block_is_odd(block, orientation):
    assert exif_orientation(block) == orientation


def test_find_exif_orientation_takes_a_block_with_or_without_its_name():
    assert exif(6).startswith(b"Exif\0\0")
    assert find_exif_orientation(exif(6)) == find_exif_orientation(exif(6)[6:]) == 6
    assert find_exif_orientation(b"Exif\0\0") == find_exif_orientation(b"") == 0


@pytest.mark.parametrize(
    ("packet", "orientation"),
    [
        (b'<rdf:Description tiff:Orientation="6"/>', 6),
        (b"<rdf:Description tiff:Orientation = '3'/>", 3),
        (b"<tiff:Orientation>8</tiff:Orientation>", 8),
        (b"<tiff:Orientation>9</tiff:Orientation>", 0),
        (b"", 0),
    ],
)
def test_find_xmp_orientation_reads_attributes_and_elements(packet, orientation):
    assert find_xmp_orientation(packet) == orientation
