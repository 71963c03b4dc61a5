"""Dependencies point one way, also where import-linter cannot see."""

import ast
import subprocess
import sys

import pytest
from django.apps import apps

from portal.celery import app as celery
from tests.architecture.test_shape import sources

ORDER = ["accounts", "marketplace", "billing", "inference"]


def test_foreign_keys_point_down_and_stay_silent_there() -> None:
    for model in apps.get_models():
        label = model._meta.app_label
        if label not in ORDER:
            continue
        for field in model._meta.get_fields():
            if not field.is_relation or field.auto_created or field.related_model in (None, "self"):
                continue
            target = field.related_model._meta.app_label
            if target in ORDER:
                assert ORDER.index(target) <= ORDER.index(label), f"{model.__name__}.{field.name} points up"


def test_web_processes_never_load_torch() -> None:
    code = (
        "import portal.asgi, portal.urls, sys; "
        "sys.exit(sorted({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("first", ["portal.kit.api", "rest_framework.views", "rest_framework.checks"])
def test_what_the_rest_framework_is_set_to_can_be_imported_first(first: str) -> None:
    """Django runs its checks in no order, so any of these may come first in a process."""
    code = f"import django; django.setup(); import {first}, portal.kit.api, rest_framework.views"
    code += "; import rest_framework.checks as checks; checks.pagination_system_check(None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_engines_run_without_django() -> None:
    code = "import inference.engines.registry, sys; sys.exit('django' in sys.modules and 'loads django' or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def literal_names(name: ast.expr, module: ast.Module, *, of: str) -> set[str]:
    """What is enqueued: a literal, or an entry of a table of literals that the module declares."""
    if isinstance(name, ast.Subscript):
        tables = {
            ast.unparse(target): node.value
            for node in module.body if isinstance(node, ast.Assign)
            for target in node.targets
        }  # fmt: skip
        table = tables.get(ast.unparse(name.value))
        found = table.values if isinstance(table, ast.Dict) else []
    else:
        found = [name]
    assert found, f"{of}: the name must be a literal"
    assert all(isinstance(each, ast.Constant) for each in found), f"{of}: the name must be a literal"
    return {each.value for each in found if isinstance(each, ast.Constant)}


def test_every_enqueued_name_is_a_task() -> None:
    celery.loader.import_default_modules()
    names = set()
    for path in sources():
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("queue.enqueue"):
                names |= literal_names(node.args[0], module, of=path.name)
    assert names
    assert names <= set(celery.tasks), "enqueued by name, but no such task"
