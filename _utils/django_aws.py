"""
Requests to AWS, or to services that speak like it, by boto3 in an environment of its own. They go
through standard input, credentials too, and are answered as data.
"""

import json

from django_run import CommandError, build_environment, run

PROGRAM = "salt://django/app/files/aws.py"
PYTHON = "/opt/django-formula/aws/bin/python"
ATTEMPTS = 4  # of one request, with growing pauses
TIMEOUT = 300


class AwsError(Exception):
    """
    A request failed.

    code
        What the service calls it (str), such as ``NoSuchBucket``; ``NoAnswer`` where it did not
        answer, ``NoCredentials`` where there are none, ``Broken`` where boto3 does not work.
    """

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def request(do, where, keys, **more):
    """
    A request (dict), to be asked with :func:`ask`.

    do
        A task of :data:`PROGRAM`.
    where
        Dict with ``endpoint`` and ``region``; empty texts are AWS and its default.
    keys
        ``(access key, secret key)``; empty texts leave it to boto3 to find some.
    """
    return {
        "do": do,
        "endpoint": where["endpoint"] or "",
        "region": where["region"] or "",
        "access_key": keys[0] or "",
        "secret_key": keys[1] or "",
        "attempts": ATTEMPTS,
        **more,
    }


def ask(wanted, text):
    """
    The answer (dict) to a request.

    text
        Text of the file :data:`PROGRAM`.
    """
    script = f"REQUEST = {json.dumps(wanted)!r}\n\n{text}"
    timeout = TIMEOUT + wanted.get("patience", 0)
    try:
        done = run([PYTHON, "-I", "-"], env=build_environment(), stdin=script, timeout=timeout)
        answer = json.loads(done.stdout)
    except (CommandError, ValueError) as error:
        raise AwsError(str(error), "Broken") from None
    if "error" in answer:
        raise AwsError(answer["error"], answer["code"])
    return answer
