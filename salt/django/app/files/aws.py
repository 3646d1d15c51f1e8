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


def look_at_targets(request):
    """
    A target group: its ``type`` (``ip`` or ``instance``) and ``port``, the ``ids`` by which it
    knows hosts, by their ``addresses`` (None: it does not), and its ``targets``: dicts of ``id,
    port, state`` and ``reason``.
    """
    balancing = client("elbv2", request)
    found = balancing.describe_target_groups(TargetGroupArns=[request["group"]])["TargetGroups"][0]
    ids = {address: address for address in request["addresses"]}
    if found["TargetType"] == "instance":
        ids = instances(request, found["VpcId"])
    return {
        "type": found["TargetType"],
        "port": found.get("Port"),
        "ids": ids,
        "targets": targets(balancing, request),
    }


def instances(request, network):
    """Ids of the instances that have the ``addresses`` in a network (dict, None for none)."""
    ids = dict.fromkeys(request["addresses"])
    filters = {
        "vpc-id": [network],
        "private-ip-address": request["addresses"],
        "instance-state-name": ["pending", "running", "stopping", "stopped"],
    }
    pages = client("ec2", request).get_paginator("describe_instances")
    for page in pages.paginate(Filters=[{"Name": key, "Values": filters[key]} for key in filters]):
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                ids[instance["PrivateIpAddress"]] = instance["InstanceId"]
    return ids


def targets(balancing, request):
    """What a target group says of its targets (list of dict)."""
    health = balancing.describe_target_health(TargetGroupArn=request["group"])
    return [
        {
            "id": entry["Target"]["Id"],
            "port": entry["Target"]["Port"],
            "state": entry["TargetHealth"]["State"],
            "reason": entry["TargetHealth"].get("Description") or "",
        }
        for entry in health["TargetHealthDescriptions"]
    ]


def change_targets(request):
    """Registers some targets (pairs of id and port), and deregisters others; ``targets`` after."""
    balancing = client("elbv2", request)
    for key, change in (
        ("register", balancing.register_targets),
        ("deregister", balancing.deregister_targets),
    ):
        if request[key]:
            listed = [{"Id": name, "Port": port} for name, port in request[key]]
            change(TargetGroupArn=request["group"], Targets=listed)
    return {"targets": targets(balancing, request)}


def await_target(request):
    """
    The ``state`` of a ``target`` (id and port; ``gone``: it is none), once it is one of the
    ``states`` or ``patience`` seconds are over.
    """
    balancing = client("elbv2", request)
    deadline = time.monotonic() + request["patience"]
    while True:
        states = {(each["id"], each["port"]): each["state"] for each in targets(balancing, request)}
        state = states.get(tuple(request["target"]), "gone")
        if state in request["states"] or time.monotonic() > deadline:
            return {"state": state}
        time.sleep(2)


def carry_out(request):
    """The answer (dict) to a request."""
    tasks = {
        "check_bucket": check_bucket,
        "invalidate": invalidate,
        "look_at_targets": look_at_targets,
        "change_targets": change_targets,
        "await_target": await_target,
    }
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
