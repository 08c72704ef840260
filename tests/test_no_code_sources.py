"""The package's own text: nothing in it evaluates text, unpickles, or runs a shell, but for the
places listed here, each with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from test_imports import parsed

# what makes code or objects of bytes or text -> the places that may, and why
ALLOWED: dict[str, tuple[str, ...]] = {
    # literals in the cells of tables; makes no objects but plain ones
    "ast.literal_eval": ("xfer/data/readers/table/cells.py",),
    # a module that the person has named; our own rooms; a face's names
    "importlib.import_module": (
        "xfer/plugs.py", "xfer/registry.py", "xfer/task.py", "xfer/__init__.py",
        "xfer/ask/__init__.py", "xfer/testing/__init__.py", "xfer/cli/completion.py",
        "xfer/explain/__init__.py",
        "xfer/tracking/tracked.py",
    ),
    # a source of the caller's, in memory: whether it can be sent to other processes
    "pickle.loads": ("xfer/testing/source.py",),
    # each name in the file is replaced by a class of ours, or is an error
    "pickle._Unpickler": ("xfer/proposals/pickles.py",),
    # our own state, with weights_only
    "torch.load": ("xfer/runs/checkpoint.py",),
    # programs by their absolute path, in an environment of ours
    "subprocess.run": ("xfer/runs/git.py",),
    # what the user typed, see xfer.plugs.check_coming
    "subprocess.Popen": ("xfer/proposals/worker.py", "xfer/data/streams/shards.py"),
    # after the names in the file were compared with those of a probe
    "io.load": ("xfer/probing/store.py",),
}  # fmt: skip
DANGEROUS = {
    "eval", "exec", "compile", "__import__", "importlib.import_module", "importlib.reload",
    "runpy.run_path", "runpy.run_module", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "pickle._Unpickler",
    "marshal.loads", "marshal.load", "shelve.open", "dill.load", "joblib.load", "torch.load",
    "torch.jit.load", "torch.hub.load", "torch.hub.load_state_dict_from_url",
    "torch.package.PackageImporter", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "ast.literal_eval", "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv",
    "os.posix_spawn", "subprocess.run", "subprocess.Popen", "subprocess.call",
    "subprocess.check_call", "subprocess.check_output", "pty.spawn", "cloudpickle.load",
    "multiprocessing.Process", "io.load", "io.loads", "pandas.read_pickle",
    "ctypes.util.find_library", "platform.processor",
}  # fmt: skip
# modules of others, in which no attribute may be looked up by a name that is not in our text
FOREIGN = ("torch", "torchvision", "timm", "models", "nn", "optim", "F", "np", "numpy", "cv2", "os",
           "sys", "albumentations", "A", "sklearn", "PIL", "Image", "builtins")  # fmt: skip
# over names that stand in our text
BY_NAME = {("xfer/files.py", "getattr(os, _flag, 0)")}


def uses() -> Iterator[tuple[str, ast.AST, str]]:
    """(file, the node, its dotted name) for every attribute and every call in the package."""
    for file, _, tree in parsed():
        names = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level == 0
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call | ast.Attribute):
                name = ast.unparse(node.func if isinstance(node, ast.Call) else node)
                head, dot, rest = name.partition(".")
                # `io` of skops, not the standard library's
                known = names.get(head, head).removeprefix("skops.")
                yield file, node, f"{known}{dot}{rest}"


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """The calls among `uses`."""
    for file, node, name in uses():
        if isinstance(node, ast.Call):
            yield file, node, name


def test_nothing_makes_code_or_objects_of_text_but_where_it_is_listed() -> None:
    found = {(name, file) for file, _, name in uses() if name in DANGEROUS}
    listed = {(name, file) for name, files in ALLOWED.items() for file in files}
    assert found <= listed, found - listed
    assert listed <= found, f"listed, but not there any more: {listed - found}"


def test_no_shell_and_no_pickles_by_an_option() -> None:
    for file, call, name in calls():
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert options.get("shell", "False") == "False", f"{file}: {name}"
        assert options.get("allow_pickle", "False") == "False", f"{file}: {name}"
        if name == "torch.load":
            assert options.get("weights_only") == "True", f"{file}: torch.load"


def test_no_attribute_of_another_s_module_is_looked_up_by_a_name_in_a_variable() -> None:
    for file, call, name in calls():
        if name not in ("getattr", "vars", "operator.attrgetter", "attrgetter"):
            continue
        subject = ast.unparse(call.args[0]).partition(".")[0] if call.args else ""
        by_text = name != "getattr" or isinstance(call.args[1], ast.Constant)
        listed = (file, ast.unparse(call)) in BY_NAME
        assert by_text or listed or subject not in FOREIGN, f"{file}: {ast.unparse(call)}"


def test_a_text_of_a_file_is_no_format() -> None:
    """`"...".format(...)` is called on texts of our own alone: a format may reach any attribute."""
    for file, call, name in calls():
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("format", "format_map"):
            own = isinstance(call.func.value, ast.Constant) or name in ("MAYBE.format",)
            assert own or file == "xfer/recipe/option.py", f"{file}: {ast.unparse(call)}"
