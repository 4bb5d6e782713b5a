"""Starts gcp-storage-emulator with what it lacks of Google's service: generations of objects.

The service sends the generation of an object with its content, and does what is asked under the
condition that it is a certain one. Tensorstore, which writes the checkpoints, relies on both.
"""

import http.server
from http import HTTPStatus

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects


def _generation(storage, request):
    """That of the object that a request is about, 0 where there is none."""
    name = request.params.get("object_id") or (request.query.get("name") or [""])[0]
    try:
        return int(storage.get_file_obj(request.params["bucket_name"], name)["generation"])
    except NotFound:
        return 0


def _asked(request, condition):
    return int(request.query[condition][0]) if request.query.get(condition) else None


def with_generations(handler):
    def handle(request, response, storage, *args, **kwargs):
        now = _generation(storage, request)
        if _asked(request, "ifGenerationMatch") not in (None, now):
            response.status = HTTPStatus.PRECONDITION_FAILED
        elif now and _asked(request, "ifGenerationNotMatch") == now:
            response.status = HTTPStatus.NOT_MODIFIED
        else:
            handler(request, response, storage, *args, **kwargs)
        if now:
            response["x-goog-generation"] = str(now)

    return handle


if __name__ == "__main__":
    for name in ("insert", "get", "download", "delete"):  # before the server looks them up
        setattr(objects, name, with_generations(getattr(objects, name)))
    http.server.HTTPServer.request_queue_size = 128
    from gcp_storage_emulator.__main__ import main

    main()
