"""Print the fields of manifests that KServe's own classes do not have: PYTHON unknown_by_kserve.py FILE ...

It runs in the environment of KServe. The classes are imported without the rest of ``kserve``, which takes seconds.
"""

import importlib.util
import inspect
import re
import sys
import types
from pathlib import Path

import kubernetes.client
import yaml


def classes():
    """The classes of KServe's and Kubernetes' objects, by name."""
    folder = Path(importlib.util.find_spec("kserve").origin).parent
    for name in ("kserve", "kserve.models"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
    modules = [importlib.import_module(f"kserve.models.{path.stem}") for path in folder.glob("models/v1*.py")]
    modules.append(kubernetes.client)
    return {
        name: each
        for module in modules
        for name, each in inspect.getmembers(module, inspect.isclass)
        if hasattr(each, "openapi_types")
    }


def unknown(value, kind, path, known):
    """Yield the paths of fields that a kind of the OpenAPI does not have: "list[V1Container]", "V1Pod", "str"."""
    many = re.fullmatch(r"list\[(.+)\]", kind)
    if many:
        for i, each in enumerate(value):
            yield from unknown(each, many[1], f"{path}[{i}]", known)
    elif kind in known:
        names = {name: field for field, name in known[kind].attribute_map.items()}
        for name, each in value.items():
            if name in names:
                yield from unknown(each, known[kind].openapi_types[names[name]], f"{path}.{name}", known)
            else:
                yield f"{path}.{name}"


def main(files):
    known = classes()
    for file in files:
        for found in yaml.safe_load_all(Path(file).read_text(encoding="utf-8")):
            version = found["apiVersion"].rpartition("/")[2].capitalize()
            kind = f"{version}{found['kind']}"
            if kind not in known:
                raise SystemExit(f"KServe has no {kind}")
            for path in unknown(found, kind, found["kind"], known):
                print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
