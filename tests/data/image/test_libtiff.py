"""What libtiff says of a file becomes its reason, and reaches no terminal."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from pictures import encode, noise

from torchloupe.data.image.decode import ImageError, decode_image
from torchloupe.data.image.libtiff import listening


def broken(compression, seed=0):
    whole = bytearray(encode(noise(60, 80, seed=seed), "TIFF", compression=compression))
    at = len(whole) // 2
    whole[at : at + 64] = bytes(64)
    return bytes(whole)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_decode_gives_libtiffs_message_as_the_reason(compression, capfd):
    with pytest.raises(ImageError) as caught:
        decode_image(broken(compression), 3)
    reason = str(caught.value)
    assert reason.startswith("damaged TIFF: ") and "decoder error" not in reason
    assert ("LZWDecode" if "lzw" in compression else "ZIPDecode") in reason
    assert capfd.readouterr() == ("", "")


def test_messages_belong_to_the_thread_that_decodes():
    reasons = {}

    def work(number):
        for _ in range(20):
            kind = ("tiff_lzw", "tiff_adobe_deflate")[number % 2]
            try:
                decode_image(broken(kind, number), 3)
            except ImageError as error:
                reasons.setdefault(kind, set()).add(str(error).split(":")[1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reasons == {"tiff_lzw": {" LZWDecode"}, "tiff_adobe_deflate": {" ZIPDecode"}}


def test_what_other_code_decodes_is_printed_as_before(tmp_path):
    (tmp_path / "x.tif").write_bytes(broken("tiff_adobe_deflate"))
    code = (
        "from PIL import Image\n"
        "from torchloupe.data.image.libtiff import listening\n"
        "with listening() as said:\n    pass\n"
        f"try:\n    Image.open({str(tmp_path / 'x.tif')!r}).load()\n"
        "except OSError:\n    pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ZIPDecode: Decoding error" in done.stderr


def test_listening_to_a_sound_file_hears_nothing():
    with listening() as said:
        assert np.array_equal(decode_image(encode(noise(), "TIFF"), 3), noise())
    assert said == []
