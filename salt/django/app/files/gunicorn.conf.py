"""What every Gunicorn of this formula does behind Nginx. Written by django-formula."""

import asyncio
import functools
import os
import sys

# Only Nginx, root and the project can open the socket, and Nginx sets these headers itself.
forwarded_allow_ips = "*"

# Longer than Nginx keeps an idle connection (see the project's site), so that it is always Nginx
# who closes one, and no request meets a connection that is being closed.
keepalive = 5

CLOSING_SECONDS = 5  # what closing the last websockets may take of the graceful timeout


def when_ready(server):
    """
    Let whoever can enter the socket's folder, which is the web server's, connect to the socket:
    Gunicorn gives it the project's own group.
    """
    for listener in server.LISTENERS:
        address = listener.getsockname()
        if isinstance(address, str):
            os.chmod(address, 0o666)


def post_worker_init(worker):
    """
    Give WSGI applications the client's address, and websockets time when a worker stops.

    A Unix socket has no peer address, so REMOTE_ADDR would be empty; Nginx puts the address into
    X-Real-IP. An ASGI worker takes it from X-Forwarded-For.
    """
    if _speaks_wsgi(worker):
        worker.wsgi = _with_client_address(worker.wsgi)
    elif _is_uvicorn(worker):
        _keep_websockets(worker.config, worker.cfg.graceful_timeout - CLOSING_SECONDS)


def _speaks_wsgi(worker):
    from gunicorn.workers.base_async import AsyncWorker
    from gunicorn.workers.gthread import ThreadWorker
    from gunicorn.workers.sync import SyncWorker

    return isinstance(worker, (AsyncWorker, ThreadWorker, SyncWorker))


def _is_uvicorn(worker):
    uvicorn = sys.modules.get("uvicorn")
    return bool(uvicorn) and isinstance(getattr(worker, "config", None), uvicorn.Config)


def _keep_websockets(config, seconds):
    """
    Let websockets of a worker that stops stay open for up to ``seconds``. Uvicorn closes them at
    once, and waits for those that are open: so each is only told later, with the same code 1012
    (Service Restart), and the worker ends when the last is closed.
    """
    from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

    if config.ws != "auto" or AutoWebSocketsProtocol is None:
        return

    class PatientProtocol(AutoWebSocketsProtocol):
        def shutdown(self):
            asyncio.get_running_loop().call_later(seconds, self._close)

        def _close(self):
            if not self.transport.is_closing():
                super().shutdown()

    config.ws = PatientProtocol


def _with_client_address(application):
    @functools.wraps(application, updated=())
    def with_client_address(environ, start_response):
        if not environ.get("REMOTE_ADDR"):
            environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")
        return application(environ, start_response)

    return with_client_address
