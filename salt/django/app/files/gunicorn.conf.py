"""What every Gunicorn of this formula does behind Nginx. Written by django-formula."""

import functools
import os

# Only Nginx, root and the project can open the socket, and Nginx sets these headers itself.
forwarded_allow_ips = "*"

# Longer than Nginx keeps an idle connection (see the project's site), so that it is always Nginx
# who closes one, and no request meets a connection that is being closed.
keepalive = 5


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
    Give WSGI applications the client's address.

    A Unix socket has no peer address, so REMOTE_ADDR would be empty; Nginx puts the address into
    X-Real-IP. An ASGI worker takes it from X-Forwarded-For and is left alone.
    """
    if _speaks_wsgi(worker):
        worker.wsgi = _with_client_address(worker.wsgi)


def _speaks_wsgi(worker):
    from gunicorn.workers.base_async import AsyncWorker
    from gunicorn.workers.gthread import ThreadWorker
    from gunicorn.workers.sync import SyncWorker

    return isinstance(worker, (AsyncWorker, ThreadWorker, SyncWorker))


def _with_client_address(application):
    @functools.wraps(application, updated=())
    def with_client_address(environ, start_response):
        if not environ.get("REMOTE_ADDR"):
            environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")
        return application(environ, start_response)

    return with_client_address
