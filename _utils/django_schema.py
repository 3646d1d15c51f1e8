"""Schema engine: checks data against a schema, fills in defaults, and tells every mistake at once.

A schema is plain data (``salt/django/parameters/schema.yaml``). Each key is described by a node:

type
    ``map`` (fixed ``keys``), ``named`` (a map whose keys are names, each with a ``value`` node),
    ``list`` (each with an ``item`` node), or a scalar type of :mod:`django_types`.
meaning, example, default, default_means
    What the reference says; ``default`` is also filled in, ``default_means`` describes a default
    that is worked out later.
required, optional
    A required key must be there. An optional map that is absent stays absent (None) instead of
    being filled with its defaults.
nullable
    An empty value (null) is allowed and kept.
secret, quiet
    Values of both never occur in a message; those of secret keys are also masked in the
    configuration that is shown.
shorthand
    Of a map: a value that is not a map stands for this key of it.
known_as, synonyms
    What other tools call a key (list), or call choices (map to the choice): for suggestions only.
exactly_one, at_most_one
    Of a map: lists of keys of which one must, or at most one may, be given.
names
    Of ``named``: the node that its names have to fit.
choices, pattern, min, max, unique, kind, climb, references, multiline …
    Limits; see :mod:`django_types`.

Nothing here raises for wrong data, whatever it is: mistakes come back as sentences. They show a
wrong value only where a single plain value belongs: text in place of a map may be a misplaced
secret, and so may the value of an unknown key.
"""

import difflib
import re
from collections.abc import Mapping

import django_types

MASK = "**********"
CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
SHOWN = 60
ALIKE = 0.8
ARTICLES = {"map": "a map", "named": "a map", "list": "a list"}


def validate(schema, value, path):
    """Check a value against a schema.

    Returns ``(normalised, errors)``: the value with defaults filled in, sizes in bytes, durations
    in seconds, absent keys as None, [] or {}; and the list of errors, each ``path: sentence``, in
    the order of the data. ``normalised`` is only to be used when there are no errors.

    path: what the value is called in messages, such as ``django``.
    """
    errors = []
    result = _visit(schema, value, path, errors, False)
    return result, errors


def mask_url(text):
    """Text with the credentials of the URLs in it masked."""
    return CREDENTIALS.sub(MASK + "@", text)


def expectation(node):
    """What a node expects, in words: ``a whole number between 1 and 64``."""
    if node.get("expects"):
        return node["expects"]
    kind = node["type"]
    if kind == "map":
        return (
            f"a map with the keys {join_words(node['keys'], 'and')}"
            if len(node["keys"]) <= 6
            else "a map of settings"
        )
    if kind == "named":
        return f"a map from {node.get('names', {}).get('expects', 'names')} to settings"
    if kind == "list":
        return f"a list, each entry {expectation(node['item'])}"
    if kind == "choice":
        return f"{'one of ' if len(node['choices']) > 1 else ''}{join_words(node['choices'], 'or')}"
    words = django_types.TYPES[kind][1]
    if kind == "path" and node.get("kind"):
        words = f"{'an absolute' if node['kind'] == 'absolute' else 'a relative'} path"
    if kind == "integer" and ("min" in node or "max" in node):
        if "max" not in node:
            words = f"a whole number of at least {node['min']}"
        else:
            words = f"a whole number between {node.get('min', 0)} and {node['max']}"
    return words


def secret_paths(schema, path=()):
    """Paths of the secret keys of a schema, as tuples; ``*`` stands for a name or an index."""
    if schema.get("secret"):
        yield path
    kind = schema["type"]
    if kind == "map":
        for key, node in schema["keys"].items():
            yield from secret_paths(node, path + (key,))
    elif kind in ("named", "list"):
        yield from secret_paths(schema["value" if kind == "named" else "item"], path + ("*",))


def got(value, hidden=False):
    """How a message shows a value: containers by their kind, secrets and long text shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a map" if value else "an empty map"
    if isinstance(value, (list, tuple, set)):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "a boolean" if hidden else str(value).lower()
    if isinstance(value, (int, float)):
        if hidden:
            return "a number"
        return str(value) if abs(value) < 10**30 else "a huge number"
    if isinstance(value, str):
        if hidden:
            return "text" if value else "empty text"
        return repr(_shorten(mask_url(value)))
    return "binary data" if isinstance(value, bytes) else "a date or time"


def suggest(word, known):
    """`` (did you mean X?)`` for the known word nearest to a misspelt one, or the empty string."""
    near = nearest(word, known)
    return f" (did you mean {near}?)" if near else ""


def nearest(word, known):
    """The known word nearest to a misspelt one, or None."""
    known = [str(item) for item in known]
    word = str(word)[:64]
    close = difflib.get_close_matches(word, known, 1, 0.6)
    if not close and len(word) >= 3:
        close = [item for item in known if item.startswith(word) or word.startswith(item + "_")]
        close = close or [item for item in known if len(item) >= 3 and word.startswith(item)]
    if not close:
        folded = {item.lower().replace("-", "_"): item for item in known}
        close = difflib.get_close_matches(word.lower().replace("-", "_"), folded, 1, 0.6)
        close = [folded[item] for item in close]
    return close[0] if close else None


def join_path(path, key):
    """The path of a key below a path, safe to print whatever the key is."""
    word = key if isinstance(key, str) else got(key)
    if not isinstance(key, (str, int)) or django_types.CONTROL.search(word):
        word = repr(word)
    return f"{path}:{_shorten(word)}"


def _visit(node, value, path, errors, hidden, spare=False):
    """
    Check one value; returns it normalised, or None after reporting an error. ``spare``: whether it
    may be left out.
    """
    hidden = hidden or bool(node.get("secret") or node.get("quiet"))
    if value is None:
        if not node.get("nullable"):
            hint = " (remove the key to get the default)" if spare else _instance(node)
            errors.append(f"{path}: expected {expectation(node)}, got nothing{hint}")
        return None
    kind = node["type"]
    if kind == "map":
        return _map(node, value, path, errors, hidden)
    if kind == "named":
        return _named(node, value, path, errors, hidden)
    if kind == "list":
        return _list(node, value, path, errors, hidden)
    return _scalar(node, value, path, errors, hidden)


def _scalar(node, value, path, errors, hidden):
    try:
        return django_types.TYPES[node["type"]][0](value, node)
    except django_types.Wrong as wrong:
        hint = f" ({wrong.hint})" if wrong.hint else ""
        if not hint and node["type"] == "choice" and not hidden and isinstance(value, str):
            meant = node.get("synonyms", {}).get(value.lower())
            hint = suggest(meant or value, node["choices"])
        # a list or a map can be right for some scalar types; then the hint says what is wrong in it
        errors.append(f"{path}: expected {expectation(node)}, got {got(value, hidden)}{hint}")
        return None


def _list(node, value, path, errors, hidden):
    if not isinstance(value, (list, tuple)):
        hint = ""
        if isinstance(value, (str, int, float)):
            hint = " (write it as a list, in brackets)"
        errors.append(f"{path}: expected {expectation(node)}, got {got(value, hidden)}{hint}")
        return None
    if len(value) < node.get("min", 0):
        errors.append(f"{path}: expected at least {node['min']} in the list, got {len(value)}")
    result, sound = [], []
    for index, item in enumerate(value):
        known = len(errors)
        result.append(_visit(node["item"], item, f"{path}:{index}", errors, hidden))
        if node.get("unique") and len(errors) == known:  # what is wrong otherwise is told already
            if result[-1] in sound:
                again = got(result[-1], hidden)
                errors.append(f"{path}:{index}: expected every entry once, got {again} again")
            sound.append(result[-1])
    return result


def _named(node, value, path, errors, hidden):
    if not isinstance(value, Mapping):
        told = f"expected {expectation(node)}, got {got(value, True)}{_instance(node)}"
        errors.append(f"{path}: {told}")
        return None
    if len(value) < node.get("min", 0):
        errors.append(f"{path}: expected {expectation(node)}, got {got(value)}")
    result, names = {}, node.get("names")
    for key, item in value.items():
        below = join_path(path, key)
        if names:
            count = len(errors)
            name = _visit(names, key, below, errors, False)
            if len(errors) > count:
                name = None
        elif not isinstance(key, str):
            errors.append(f"{below}: expected a name, got {got(key)} (put it in quotes)")
            name = None
        else:
            name = key
        if name is not None and name in result:
            errors.append(f"{below}: expected every name once, got this one again")
        checked = _visit(node["value"], item, below, errors, hidden)  # whatever its name is
        if name is not None:
            result[name] = checked
    return result


def _map(node, value, path, errors, hidden):
    keys = node["keys"]
    if not isinstance(value, Mapping):
        if "shorthand" in node and not isinstance(value, (set, bytes)):
            is_list = isinstance(value, (list, tuple))
            if not is_list or keys[node["shorthand"]]["type"] in ("list", "command", "shell"):
                return _map(node, {node["shorthand"]: value}, path, errors, hidden)
        told = f"expected {expectation(node)}, got {got(value, True)}{_instance(node)}"
        errors.append(f"{path}: {told}")
        return None
    meant = set()
    result = {}
    for key in value:
        if not isinstance(key, str) or key not in keys:
            errors.append(_unknown(node, key, path, meant))
    needed = {key for group in node.get("exactly_one", ()) for key in group}
    for key, below in keys.items():
        if key in value:
            spare = not below.get("required") and key not in needed
            result[key] = _visit(below, value[key], f"{path}:{key}", errors, hidden, spare)
        elif "default" in below:
            result[key] = _visit(below, below["default"], f"{path}:{key}", [], hidden)
        elif below.get("required"):
            if key not in meant:
                errors.append(f"{path}:{key}: expected {expectation(below)}, got nothing")
            result[key] = None
        elif below["type"] == "map" and not below.get("optional"):
            result[key] = _visit(below, {}, f"{path}:{key}", errors, hidden)
        else:
            result[key] = {"named": {}, "list": []}.get(below["type"])
    for least, groups in ((1, node.get("exactly_one", ())), (0, node.get("at_most_one", ()))):
        for group in groups:
            given = [key for key in group if key in value]
            if len(given) > 1:
                errors.append(
                    f"{path}: expected only one of the keys {join_words(group, 'or')},"
                    f" got {join_words(given, 'and')}"
                )
            elif len(given) < least and not meant.intersection(group):
                errors.append(
                    f"{path}: expected one of the keys {join_words(group, 'or')}, got none"
                )
    return result


def _unknown(node, key, path, meant):
    """The error for a key that a map does not have; adds to ``meant`` the key it stands for."""
    keys = node["keys"]
    below = join_path(path, key)
    if not isinstance(key, str):
        return f"{below}: expected a key in text, got {got(key)} (put it in quotes)"
    known = [name for name, child in keys.items() if key.lower() in child.get("known_as", ())]
    near = known[0] if known else nearest(key, keys)
    homes = [
        f"{name}:{key}"
        for name, child in keys.items()
        if child["type"] == "map" and key in child["keys"]
    ]
    alike = near and difflib.SequenceMatcher(None, key, near).ratio() > ALIKE
    if near and (known or alike or not homes or key.startswith(near) or near.startswith(key)):
        meant.add(near)
        hint = f" (did you mean {near}?)"
    elif homes:  # what is right one level below beats what is only somewhat alike
        hint = f" (did you mean {join_words(homes, 'or')}?)"
    else:
        hint = f" (expected {join_words(sorted(keys), 'or')})" if len(keys) <= 16 else ""
    return f"{below}: unknown key{hint}"


def _instance(node):
    """A hint how a map may look like, where the schema has an example of it, or the empty text."""
    if node["type"] not in ("map", "named") or not node.get("example"):
        return ""
    return f" (for instance {_flow(node['example'])})"


def _flow(value):
    """An example as it may stand in a pillar."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    plain = not isinstance(value, str) or re.fullmatch(r"[A-Za-z_/][\w./-]*", value)
    return str(value) if plain else f"'{value}'"


def _shorten(text):
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def join_words(words, last):
    """Words as a list in a sentence: ``a, b or c``."""
    words = [str(word) for word in words]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
