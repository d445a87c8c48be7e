"""Send forms, JSON and options that are larger, deeper or odder than anybody means them."""

from __future__ import annotations

import json
from urllib.parse import quote

from benchmarks.attacks.target import Attack, Target, posting, summed_up
from tests.faults.clients import picture

FORM = "multipart/form-data; boundary=B"
_JSON = "application/json"
_INFER = "/v2/models/tiny/infer"


def attacks() -> list[Attack]:
    """Give all of them."""
    return [*_forms(), *_options(), *_inferences()]


def form(*parts: bytes) -> bytes:
    """Write a form."""
    return b"".join(parts) + b"--B--\r\n"


def part(value: bytes, *, name: bytes = b"image", file: bytes | None = b"a.png", header: bytes = b"") -> bytes:
    """Write a part of a form."""
    named = b'name="%b"' % name + (b"" if file is None else b'; filename="%b"' % file)
    return b"--B\r\nContent-Disposition: form-data; %b\r\n%b\r\n%b\r\n" % (named, header, value)


def _forms() -> list[Attack]:
    text = part(b"a" * ((1 << 20) - 1), file=None)
    return [
        posting("form: a text field of 1 MB", "", lambda: form(part(bytes(1_000_000), file=None)), Content_Type=FORM),
        posting("form: a field's name of 1 MB", "", lambda: form(part(b"", name=b"a" * 1_000_000)), Content_Type=FORM),
        posting("form: a part's header of 10 MB", "", lambda: form(part(b"", header=b"X: " + b"a" * 10**7 + b"\r\n")),
                Content_Type=FORM),
        posting("form: 10,000 parts", "files, each empty", lambda: form(*[part(b"")] * 10_000), Content_Type=FORM),
        posting("form: almost a boundary, again and again", "5.5 million times `\\r\\n--Bx`",
                lambda: form(part(b"\r\n--Bx" * 5_500_000)), Content_Type=FORM),
        posting("form: no end, no boundary", "", lambda: b"\r" * 10**7, Content_Type="multipart/form-data"),
        posting("form: boundary of 10 kB", "", lambda: b"x", Content_Type=FORM + "B" * 10_000),
        posting("form: charset=punycode", "two text fields of 1 MB", lambda: form(text, text),
                Content_Type=f"{FORM}; charset=punycode"),
    ]  # fmt: skip


def _options() -> list[Attack]:
    odd = {
        "threshold": ("nan", "inf", "-1", "1e400", "0x1"), "min_area": ("1e9", "-1", "9" * 5000, "1.5"),
        "size": ("1e9", "original\0"), "format": ("../png", "png\0", "a" * 5000), "tta": ("all", ""),
        "from_name": ("a", "\0"), "classes": (",", ",".join(map(str, range(10_000)))),
    }  # fmt: skip
    headers = {
        "X_Request_Timeout": ("nan", "inf", "1e400", "-1", "9" * 5000), "X_Priority": ("admin", "\xff"),
        "Accept": ("*/*;q=nan", "," * 5000), "Content_Type": ("image/png; a=" + "b" * 5000, "a/b"),
    }  # fmt: skip

    async def ask(target: Target, content: bytes) -> str:
        paths = [f"/segment?{name}={quote(value)}" for name, values in odd.items() for value in values]
        told = [await target.post(content, path=path) for path in paths]
        told += [await target.post(content, **{name: value}) for name, values in headers.items() for value in values]
        return summed_up(told)

    return [
        Attack("odd values of options", "nan, inf, 1e9, 5000 digits, NUL, 10,000 classes ...", ask, lambda: picture(7)),
        posting("100,000 classes", "in the query", lambda: picture(7),
                path="/segment?classes=" + ",".join(map(str, range(100_000)))),
        posting("v2: 3 million classes", "", _many_classes, path=_INFER),
    ]  # fmt: skip


def _inferences() -> list[Attack]:
    nines = "9" * 4000
    bodies = {
        "nested 100,000 deep": ("", lambda: _infer(data="[" * 100_000)),
        "1e400, NaN": ("as pixels", lambda: _infer("[1,1,3]", datatype="UINT8", data="[1e400,NaN,1]")),
        "threshold NaN": ("", lambda: _infer(rest=',"parameters":{"threshold":NaN}')),
        "shape of 2^63 and 2^64": ("", lambda: _infer(f"[{1 << 63},{1 << 64},3]", datatype="UINT8", data="[1]")),
        "shape of negative sides": ("", lambda: _infer("[-1,-1,3]", datatype="UINT8", data="[1,1,1]")),
        "shape of 4000 digits": ("two sides", lambda: _infer(f"[{nines},{nines},3]", datatype="UINT8", data="[1]")),
        "shape of 250 sides": ("4000 digits each", lambda: _infer(_list(nines, 250))),
        "shape of 500 sides": ("4000 digits each", lambda: _infer(_list(nines, 500))),
        "inputs that are wrong": ("200,000 times `{}`", lambda: b'{"inputs":' + _list("{}", 200_000).encode() + b"}"),
        "unknown keys": ("200,000", _many_keys),
        "unknown parameters": ("200,000", lambda: _infer(rest=f',"parameters":{_many_keys().decode()}')),
        "lists for pixels": ("10 million `[]`", lambda: _infer(datatype="UINT8", data=_list("[]", 10_000_000))),
        "images, all empty": ("8 million, in base64", lambda: _infer("[8000000]", data=_list('""', 8_000_000))),
    }  # fmt: skip
    return [
        *(posting(f"v2: {name}", sent, make, path=_INFER, Content_Type=_JSON) for name, (sent, make) in bodies.items()),
        Attack("v2: millions of images of a pixel", "shape [3000000, 1, 1, 3]", _many_images, lambda: bytes(9_000_000)),
        Attack("v2: lengths that lie", "binary_data_size, Inference-Header-Content-Length", _lie, lambda: bytes(300)),
        posting("JSON for /segment: unknown parameters", "200,000",
                lambda: b'{"inputs":"","parameters":' + _many_keys() + b"}", Content_Type=_JSON),
        posting("JSON for /segment: 30 MB that is no base64", "", lambda: b'{"inputs":"' + b"!" * (30 << 20) + b'"}',
                Content_Type=_JSON),
    ]  # fmt: skip


async def _many_images(target: Target, content: bytes) -> str:
    head = _binary(len(content), shape=f"[{len(content) // 3},1,1,3]")
    return await target.post(head + content, path=_INFER, Inference_Header_Content_Length=str(len(head)))


async def _lie(target: Target, content: bytes) -> str:
    heads = [_binary(size) for size in (0, -1, 299, 301, 1 << 63, 10**4000, "300", True, None, 300.0, [])]
    asked = [(head, str(len(head))) for head in heads]
    head = _binary(len(content))
    asked += [(head, length) for length in ("0", "-1", "5", str(len(head) + 1), str(1 << 64), "9" * 5000, "abc", "1e3")]
    return summed_up([
        await target.post(head + content, path=_INFER, Inference_Header_Content_Length=length) for head, length in asked
    ])  # fmt: skip


def _infer(shape: str = "[1]", *, datatype: str = "BYTES", data: str = '[""]', rest: str = "") -> bytes:
    """Write a request of the Open Inference Protocol."""
    tensor = f'{{"name":"image","shape":{shape},"datatype":"{datatype}","data":{data}}}'
    return f'{{"inputs":[{tensor}]{rest}}}'.encode()


def _binary(size: object, shape: str = "[10,10,3]") -> bytes:
    """Write the JSON before bytes, of which it says that there are so many."""
    tensor = (
        f'{{"name":"image","shape":{shape},"datatype":"UINT8","parameters":{{"binary_data_size":{json.dumps(size)}}}}}'
    )
    return f'{{"inputs":[{tensor}]}}'.encode()


def _list(value: str, number: int) -> str:
    return "[" + ",".join([value] * number) + "]"


def _many_keys() -> bytes:
    return ("{" + ",".join(f'"{index}":1' for index in range(200_000)) + "}").encode()


def _many_classes() -> bytes:
    return _infer(rest=f',"parameters":{{"classes":"{",".join(map(str, range(3_000_000)))}"}}')
