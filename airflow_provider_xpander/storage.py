"""Answers in files: wherever Airflow's ObjectStoragePath reaches."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.api.text import printable

MEDIA_ENDINGS = {"application/json": ".json"}


def check_place(url: str) -> None:
    """
    See that an answer can be written to a place, as far as that shows without writing.

    :param url: of a file, or of a folder if it ends with ``/``.
    :raises XpanderValidationError: Airflow has no such file system here, or a folder has the file's name.
    :raises XpanderError: the place cannot be reached.
    """
    try:
        local = _local_path(open_path(url))
        if local is not None:
            os.makedirs(os.path.dirname(local), exist_ok=True)
            if os.path.isdir(local) and not url.endswith("/"):
                raise ValueError('it is a folder; end it with "/" for a file named after the run')
    except (ValueError, ImportError) as error:
        raise XpanderValidationError(f"result_path {url}: {printable(error, 300)}") from error
    except Exception as error:  # of whatever library reaches the place; nothing is started yet
        raise XpanderError(f"result_path {url} cannot be reached: {printable(error, 300)}") from error


def write_answer(url: str, content: bytes, media_type: str, task_id: str) -> dict[str, Any]:
    """
    Write an answer so that a reader sees all of it or nothing, and return what refers to it.

    :param url: of a file, or of a folder if it ends with ``/``; the file is then named after the run.
    :param content: what to write.
    :param media_type: what it is.
    :param task_id: the run.
    :return: ``url``, ``size`` in bytes, ``content_type`` and ``xpander_task_id``.
    :raises Exception: whatever the library that reaches the place raises.
    """
    if url.endswith("/"):
        url += quote(task_id, safe="") + MEDIA_ENDINGS.get(media_type, ".txt")
    write_whole(url, content)
    return {"url": url, "size": len(content), "content_type": media_type, "xpander_task_id": task_id}


def write_whole(url: str, content: bytes) -> None:
    """
    Write a file so that a reader sees all of it, or what was there before.

    :param url: of the file.
    :param content: what to write.
    :raises Exception: whatever the library that reaches the place raises.
    """
    path = open_path(url)
    local = _local_path(path)
    if local is None:
        path.fs.pipe_file(path.path, content)  # object stores show a file when all of it is there
    else:
        _replace(local, content)


def write_all(folder: str, files: Mapping[str, bytes]) -> None:
    """
    Write files so that a reader sees all of each, or what was there before: side by side in an object store.

    Unlike that of :func:`write_whole`, a file in a local folder may be empty after a power cut.

    :param folder: its URL.
    :param files: contents by names within the folder.
    :raises Exception: whatever the library that reaches the place raises.
    """
    path = open_path(folder)
    local = _local_path(path)
    if local is None:
        path.fs.pipe({f"{str(path.path).rstrip('/')}/{name}": content for name, content in files.items()})
        return
    for name, content in files.items():
        _replace(os.path.join(local, name), content, lasting=False)


def open_path(url: str) -> Any:
    """
    Return Airflow's path to a file or folder, with the file system that it is on, ``path.fs``.

    :param url: of the file, with any scheme that fsspec knows.
    :raises ValueError, ImportError: Airflow has no such file system here.
    """
    from airflow_provider_xpander._compat import object_storage_path

    path = object_storage_path(url)
    path.fs  # noqa: B018 - finds the file system, and its connection
    return path


def _local_path(path: Any) -> str | None:
    from fsspec.implementations.local import LocalFileSystem

    return str(path.path) if isinstance(path.fs, LocalFileSystem) else None


def _replace(path: str, content: bytes, *, lasting: bool = True) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with open(part, "xb") as file:
            file.write(content)
            if lasting:  # over a power cut, for some ten milliseconds
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
