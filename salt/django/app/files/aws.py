"""
Carries out one task at AWS or a service that speaks like it, and answers with data.

The request is put before this file, and both are run by the Python of the tool's own environment,
from standard input, so that no credential is in a list of processes:

    (echo REQUEST="'"'{"do": "invalidate", …}'"'"; cat aws.py) | python -

Without keys in the request boto3 looks where it always does: root's ~/.aws, the machine's own role.
The answer is one line of JSON on standard output: what the task returns, or ``{"error", "code"}``.
"""

import json
import time

import boto3.session
import botocore.config
import botocore.exceptions

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
BUSY = ("TooManyInvalidationsInProgress", "Throttling", "ThrottlingException")
CHECK_KEY = "django-formula-check"
CHECK_BODY = b"Written by django-formula to see whether it may; it can be removed.\n"


def client(service, request):
    """A client that tries again, with growing pauses, what may pass by itself."""
    config = botocore.config.Config(
        connect_timeout=5,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": request["attempts"]},
        s3={"addressing_style": request.get("addressing", "auto")},
    )
    session = boto3.session.Session(
        aws_access_key_id=request["access_key"] or None,
        aws_secret_access_key=request["secret_key"] or None,
        region_name=request["region"] or None,
    )
    endpoint = request["endpoint"] or None
    return session.client(service, endpoint_url=endpoint, config=config, verify=CERTIFICATES)


def check_bucket(request):
    """An object can be written to the bucket, read and removed; what is not allowed is told."""
    s3 = client("s3", request)
    place = {"Bucket": request["bucket"], "Key": request["prefix"] + CHECK_KEY}
    s3.put_object(Body=CHECK_BODY, ContentType="text/plain", **place)
    read = s3.get_object(**place)["Body"].read()
    try:
        s3.delete_object(**place)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return {"reads": read == CHECK_BODY, "removes": False}
    return {"reads": read == CHECK_BODY, "removes": True}


def invalidate(request):
    """
    The id of an invalidation of ``paths``. One of the same ``reference`` is not made twice. Waits
    up to ``patience`` seconds while the distribution has too many of them.
    """
    cloudfront = client("cloudfront", request)
    batch = {
        "Paths": {"Quantity": len(request["paths"]), "Items": request["paths"]},
        "CallerReference": request["reference"],
    }
    deadline = time.monotonic() + request["patience"]
    while True:
        try:
            made = cloudfront.create_invalidation(
                DistributionId=request["distribution"], InvalidationBatch=batch
            )
            return {"id": made["Invalidation"]["Id"]}
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in BUSY or time.monotonic() > deadline:
                raise
        time.sleep(2)


def carry_out(request):
    """The answer (dict) to a request."""
    tasks = {"check_bucket": check_bucket, "invalidate": invalidate}
    try:
        return tasks[request["do"]](request)
    except botocore.exceptions.ClientError as error:
        answer = error.response["Error"]
        return {"error": answer.get("Message") or str(error), "code": answer["Code"]}
    except botocore.exceptions.NoCredentialsError as error:
        return {"error": str(error), "code": "NoCredentials"}
    except botocore.exceptions.BotoCoreError as error:
        return {"error": str(error), "code": "NoAnswer"}


print(json.dumps(carry_out(json.loads(REQUEST))))
