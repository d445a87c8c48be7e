"""Write the answer to a request of several images: a list in JSON, or in parts where the format is not JSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from service.errors import ServiceError
from service.pipeline import Answer
from service.problems import MEDIA_TYPE, Problem, problem_of
from service.routes.bodies import Upload


class ListedAnswer(BaseModel):
    """Hold what became of one image: its answer, or the problem."""

    index: int = Field(description="of the image in the form, from 0", examples=[0])
    name: str | None = Field(description="name of its file", examples=["dog.jpg"])
    status: int = Field(description="what the image alone would have been answered with", examples=[200])
    answer: Any = Field(default=None, description="as the format has it for one image")
    problem: Problem | None = None


class ListAnswer(BaseModel):
    """Hold an answer for each image, in the order of the form."""

    answers: list[ListedAnswer]


@dataclass(frozen=True, slots=True)
class Listing:
    """Hold the answer to all images together."""

    content: bytes
    media_type: str


def list_answers(uploads: Sequence[Upload], answers: Sequence[Answer | ServiceError], media_type: str) -> Listing:
    """Put the answers of one format together."""
    if media_type.endswith("json"):
        entries = (_entry(index, *pair) for index, pair in enumerate(zip(uploads, answers, strict=True)))
        return Listing(b'{"answers":[' + b",".join(entries) + b"]}", "application/json")
    boundary = uuid.uuid4().hex
    parts = [b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in _parts(answers)]
    return Listing(b"".join(parts) + b"--%b--\r\n" % boundary.encode(), f"multipart/mixed; boundary={boundary}")


def _entry(index: int, upload: Upload, answer: Answer | ServiceError) -> bytes:
    """Give one entry of the list; the answer is JSON already."""
    name = upload.name and upload.name[:200]
    if isinstance(answer, ServiceError):
        problem = problem_of(answer)
        return ListedAnswer(index=index, name=name, status=problem.status, problem=problem).model_dump_json().encode()
    head = json.dumps({"index": index, "name": name, "status": 200, "problem": None})
    return head[:-1].encode() + b',"answer":' + answer.content + b"}"


def _parts(answers: Sequence[Answer | ServiceError]) -> Iterator[bytes]:
    for index, answer in enumerate(answers):
        if isinstance(answer, ServiceError):
            problem = problem_of(answer)
            status, media_type, content = problem.status, MEDIA_TYPE, problem.model_dump_json().encode()
        else:
            status, media_type, content = 200, answer.media_type, answer.content
        head = f"Content-Type: {media_type}\r\nContent-Length: {len(content)}\r\nX-Index: {index}\r\nX-Status: {status}"
        yield head.encode() + b"\r\n\r\n" + content
