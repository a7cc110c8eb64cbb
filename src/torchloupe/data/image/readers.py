"""Pillow's reader of each format, and its errors as reasons.

Every reader is named, so that nothing but the format found in the headers is ever tried.
"""

import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from types import TracebackType
from typing import Any

from PIL import (
    BmpImagePlugin,
    DdsImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from torchloupe.data.image.encoded import Encoded, ImageError, check_size
from torchloupe.data.image.libtiff import listening
from torchloupe.errors import printable

try:
    from PIL import AvifImagePlugin  # Pillow 11.3, if it was built with libavif
except ImportError:
    AvifImagePlugin = None  # type: ignore[assignment]

_READERS: dict[str, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "DIB": BmpImagePlugin.DibImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "TGA": TgaImagePlugin.TgaImageFile,
    "ICO": IcoImagePlugin.IcoImageFile,
    "PCX": PcxImagePlugin.PcxImageFile,
    "DDS": DdsImagePlugin.DdsImageFile,
    "QOI": QoiImagePlugin.QoiImageFile,
}
if AvifImagePlugin is not None:
    _READERS["AVIF"] = AvifImagePlugin.AvifImageFile

_NO_WORDS = re.compile(r"0x[0-9a-f]|\bb['\"]|<|^\W*\w*\W*$")
_PLAIN_WORDS = (  # what Pillow says, and what it means
    ("decoder error", "its pixel data can't be decoded"),
    ("broken data stream", "its pixel data can't be decoded"),
    ("buffer overrun", "its pixel data can't be decoded"),
    ("failed to read next frame", "its pixel data can't be decoded"),
    ("could not create decoder", "its header is invalid"),
    ("index out of range", "its header is invalid"),
    ("unpack requires", "it ends within its header"),
    ("Error -", "its packed pixel data are broken"),
)
_SHORT = ("truncated", "not enough image data", "unexpected end of file")
_SPEAKING = (OSError, SyntaxError, ValueError, EOFError, NotImplementedError)


class _Quiet:
    """Warnings are off while any thread is inside.

    Pillow warns of odd TIFF tags, and warnings.catch_warnings is not made for threads: the
    first thread in turns them off, the last one out restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._catcher: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._catcher is not None:
                self._catcher.__exit__(None, None, None)


_quiet = _Quiet()


@contextmanager
def reading(encoded: Encoded) -> Iterator[None]:
    """Around Pillow's work on an image: its errors leave as ImageError with a plain reason."""
    said: list[str] = []
    with _quiet, ExitStack() as stack:
        if encoded.format == "TIFF":
            said = stack.enter_context(listening())
        try:
            yield
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # over damaged files Pillow raises nearly every type there is
            raise ImageError(_explain(_name_of(encoded.format), error, said)) from None


def open_image(encoded: Encoded) -> ImageFile.ImageFile:
    """The image as Pillow's reader of this format opens it, its size checked, not yet loaded."""
    image: ImageFile.ImageFile
    if encoded.format == "HEIC":
        image = _open_heic(encoded.data)
    elif encoded.format not in _READERS:
        raise ImageError(f"{encoded.format} is not built into this Pillow")
    else:
        image = _READERS[encoded.format](BytesIO(encoded.data))
    check_size(*image.size)
    return image


def _open_heic(data: bytes) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(
            "HEIC is read with the extra heic (pip install 'torchloupe[heic]'); "
            "or convert it to JPEG"
        ) from None
    image: ImageFile.ImageFile = HeifImageFile(BytesIO(data))
    return image


def _name_of(form: str) -> str:
    return {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}.get(form, form)


def _explain(name: str, error: Exception, said: Sequence[str]) -> str:
    """The reason why an image can't be read, in words and without numbers of no meaning."""
    text = str(error)
    if isinstance(error, EOFError) or any(words in text.lower() for words in _SHORT):
        return f"truncated {name}"
    if said:
        return f"damaged {name}: {printable(said[0], 120)}"
    for seen, words in _PLAIN_WORDS:
        if seen in text:
            return f"damaged {name}: {words}"
    if not isinstance(error, _SPEAKING) or not text or _NO_WORDS.search(text):
        return f"damaged {name}: its header is invalid"
    return f"unreadable {name}: {printable(text, 120)}"
