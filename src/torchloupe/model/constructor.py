"""What a model's constructor asks for, as far as the data say: channels, classes, image size.

It knows the names that people give these arguments. Some names mean different things in
different models (`channels` may be a width); such an argument is filled in only if it has no
default or one that settles its meaning.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

# Names are compared in small letters without underscores: n_classes, nClasses, num_classes.
_CERTAIN: Mapping[str, tuple[str, ...]] = {
    "in_channels": (
        "inchannels", "inchannel", "inchans", "inchan", "inch", "inputchannels", "inputchannel",
        "inputchans", "inputch", "numchannels", "nchannels", "nchannel", "numinputchannels",
        "ninputchannels", "imgchannels", "imagechannels", "imgchannel", "imagechannel",
        "channelsin", "channelin", "chans", "nchans", "numchans", "colorchannels", "inputdepth",
    ),
    "classes": (
        "classes", "numclasses", "nclasses", "nbclasses", "nclass", "numclass", "nbclass",
        "noclasses", "classnum", "classesnum", "classcount", "classescount", "numberofclasses",
        "classnumber", "numlabels", "nlabels", "nlabel", "numlabel", "outclasses", "outputclasses",
        "numoutputs", "noutputs", "numcategories", "ncategories", "numcls", "ncls", "clsnum",
        "numtargets", "targetclasses",
    ),
    "image_size": (
        "imagesize", "imgsize", "imsize", "imsz", "imgsz", "imagesz", "imgdim", "imagedim",
        "imageres", "imgres", "imageresolution", "imgresolution", "inputresolution", "resolution",
        "inputimagesize", "inputsize", "insize", "imgside", "imageside",
    ),
    "input_shape": ("inputshape", "imageshape", "imgshape", "inshape", "inputdims"),
    "height": ("imgheight", "imageheight", "inputheight", "imgh", "imageh", "inheight", "height"),
    "width": ("imgwidth", "imagewidth", "inputwidth", "imgw", "imagew", "inwidth"),
    "values": (
        "inputdim", "indim", "infeatures", "inputfeatures", "ninputs", "numinputs", "ninput",
        "inputunits", "flattenedsize",
    ),
}  # fmt: skip
# These are taken for a fact only if no certain name of that fact stands in the signature.
_POSSIBLE: Mapping[str, tuple[str, ...]] = {
    "in_channels": ("channels", "channel", "nc", "inc", "cin", "inputc"),
    "classes": (
        "nc", "nout", "numout", "outdim", "outputdim", "outputsize", "outsize", "outfeatures",
        "outputfeatures", "outputs", "noutput", "ncategory", "labels", "categories",
    ),
    "width": ("width",),
}  # fmt: skip
_HANDED_ON = ("num_classes", "classes")
_USUAL_CHANNELS = (1, 3)
_LEFT_OUT = object()  # the constructor's own default


def name_arguments(
    parameters: Sequence[inspect.Parameter], facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The arguments that `facts` give, by name; the likeliest reading first.

    `facts` has in_channels, classes, image_size (height, width) and input_shape. There is more
    than one reading where a size may be a pair or one side, or the number of values in an image;
    a trial forward decides between them. A function that only hands `**kwargs` on is first tried
    with the usual names of the classes: what it calls may know them.
    """
    readings: list[dict[str, Any]] = [{}]
    known = {parameter.name: _fact_of(parameter, parameters) for parameter in parameters}
    for parameter in parameters:
        fact = known[parameter.name]
        values = _values_of(fact, parameter, facts) if fact else []
        if values:
            readings = [
                {**reading, parameter.name: value} if value is not _LEFT_OUT else reading
                for value in values
                for reading in readings
            ]
    hands_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if hands_on and "classes" not in known.values():
        named = [{**r, name: facts["classes"]} for name in _HANDED_ON for r in readings]
        return [*named, *readings]
    return readings


def _fact_of(parameter: inspect.Parameter, parameters: Sequence[inspect.Parameter]) -> str:
    """The fact that an argument means; empty for none."""
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return ""
    name = _plain(parameter.name)
    for fact, names in _CERTAIN.items():
        if name in names:
            return "" if fact in ("height", "width", "values") and _is_other(parameter) else fact
    all_names = {_plain(p.name) for p in parameters}
    # nc is the number of classes, unless these have a name of their own.
    for fact in ("classes", "in_channels", "width"):
        is_named = bool(all_names & set(_CERTAIN[fact]))
        if name in _POSSIBLE[fact] and not is_named and _settles(fact, parameter, all_names):
            return fact
    return ""


def _settles(fact: str, parameter: inspect.Parameter, all_names: set[str]) -> bool:
    """Whether an argument whose name may mean `fact` does mean it."""
    if fact == "width":  # of the images beside a height; alone it is that of a layer
        return bool(all_names & set(_CERTAIN["height"]))
    if parameter.default is parameter.empty or parameter.default is None:
        return True
    if fact == "in_channels":
        return type(parameter.default) is int and parameter.default in _USUAL_CHANNELS
    return _plain(parameter.name) == "nc"


def _is_other(parameter: inspect.Parameter) -> bool:
    """Whether the default says that a size in numbers is something else, such as a layer's."""
    return parameter.default is not parameter.empty and type(parameter.default) is not int


def _values_of(fact: str, parameter: inspect.Parameter, facts: Mapping[str, Any]) -> list[Any]:
    """What the argument may be; the likeliest first."""
    height, width = facts["image_size"]
    count = math.prod(facts["input_shape"])
    if fact == "values":
        return [count] if parameter.default is parameter.empty else [_LEFT_OUT, count]
    if fact != "image_size":
        return [{"height": height, "width": width}.get(fact, facts.get(fact))]
    found: list[Any] = [(height, width)]
    if height == width:
        found = [height] if _is_one_number(parameter) else [(height, width), height]
    if _plain(parameter.name) in ("inputsize", "insize"):
        found.append(count)
    return found[:1] if _is_pair(parameter) else found


def _is_one_number(parameter: inspect.Parameter) -> bool:
    return parameter.annotation in (int, "int") or isinstance(parameter.default, int)


def _is_pair(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.default, (tuple, list)) or "uple" in str(parameter.annotation)


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
