"""Management commands."""


def collectstatic(request):
    """Run collectstatic into the settings' STATIC_ROOT; returns what it said."""
    import io

    from django.core.management import call_command

    said = io.StringIO()
    call_command(
        "collectstatic",
        interactive=False,
        verbosity=1,
        ignore_patterns=request.get("ignore", []),
        stdout=said,
    )
    return said.getvalue().strip()


def call(request):
    """Any management command: ``name``, ``args`` (list), ``options`` (dict); returns its output."""
    import io

    from django.core.management import call_command

    said = io.StringIO()
    call_command(
        request["name"], *request.get("args", []), stdout=said, **request.get("options", {})
    )
    return said.getvalue()
