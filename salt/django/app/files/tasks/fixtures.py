"""Fixtures, compared with the database before they are loaded."""


def load(request):
    """
    Save the objects of ``fixtures`` that are missing and, with ``update``, those that have other
    values in the fields that a fixture names. Returns ``{"created": [object], "updated": {object:
    [field]}, "same": number}``; with ``test`` nothing is saved.
    """
    from django.core.management import call_command
    from django.core.management.commands import loaddata
    from django.core.serializers import base

    if not hasattr(loaddata.Command, "save_obj"):
        raise RuntimeError("fixtures can be compared with the database since Django 4.0")
    build = base.build_instance

    def build_and_note(model, data, database):
        made = build(model, data, database)
        made._named = set(data)
        return made

    command = _comparing(loaddata.Command)(request)
    base.build_instance = build_and_note
    try:
        call_command(
            command,
            *request["fixtures"],
            database=request["database"],
            verbosity=0,
            **request["options"],
        )
    finally:
        base.build_instance = build
    return command.found


def _comparing(command):
    """The class of a ``loaddata`` that saves only what is not in the database."""
    from django.core.management import CommandError
    from django.db import router

    class Comparing(command):
        def __init__(self, request):
            super().__init__()
            self.request = request
            self.found = {"created": [], "updated": {}, "same": 0}

        def save_obj(self, obj):
            model = type(obj.object)
            left_out = model in self.excluded_models or model._meta.app_config in self.excluded_apps
            if left_out or not router.allow_migrate_model(self.using, model):
                return False
            if not _can_be_found(obj.object):
                raise CommandError(
                    f"an object of {model._meta.label} has neither a primary key nor a natural "
                    "key, so it cannot be told whether it is loaded"
                )
            existing = model._base_manager.using(self.using).filter(pk=obj.object.pk).first()
            name = f"{model._meta.label} {_key(obj.object)}"
            fields = _differing(obj, existing) if existing is not None else []
            if existing is None:
                self.found["created"].append(name)
            elif fields and self.request["update"]:
                self.found["updated"][name] = fields
            else:
                self.found["same"] += 1
                return False
            return False if self.request["test"] else super().save_obj(obj)

    return Comparing


def _can_be_found(instance):
    manager = type(instance)._default_manager
    if hasattr(instance, "natural_key") and hasattr(manager, "get_by_natural_key"):
        return True
    # A primary key that a default made is another one each time.
    return instance.pk is not None and instance._meta.pk.attname in instance._named


def _key(instance):
    if hasattr(instance, "natural_key"):
        return " ".join(str(part) for part in instance.natural_key())
    return str(instance.pk)


def _differing(obj, existing):
    """Fields (sorted list of str) named by the fixture whose values the database does not have."""
    named = obj.object._named
    found = {field.name for field in obj.deferred_fields or ()}  # refers to what is missing, too
    for field in obj.object._meta.concrete_fields:
        if not {field.name, field.attname} & named or field.name in found:
            continue
        if field.value_from_object(obj.object) != field.value_from_object(existing):
            found.add(field.name)
    for name, wanted in (obj.m2m_data or {}).items():
        keys = {str(getattr(value, "pk", value)) for value in wanted}
        there = {str(key) for key in getattr(existing, name).values_list("pk", flat=True)}
        if keys != there:
            found.add(name)
    return sorted(found)
