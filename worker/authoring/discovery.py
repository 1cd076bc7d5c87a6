"""Finds what a worker hosts in files: `functions/`, and `services/` and `tags/` beside it.

A folder is imported as a package with a made-up, unique name, so that two folders may hold files of
one name, files of one folder may import each other (`from ._words import split`), and nothing
shadows an installed package. Files and folders whose names begin with `_` or `.` are not looked
into. What counts is what the decorators made: a plain public function is not a task function.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from shared.errors import ConfigError
from worker.authoring.background import (
    DEFAULT_TAGS_INTERVAL_S,
    SERVICE_METHODS,
    Service,
    ServiceDefinition,
    TagSource,
    check_service,
    declare_tags,
)
from worker.authoring.decorators import SERVICE_ATTRIBUTE
from worker.authoring.registry import Registry
from worker.authoring.signature import DeclarationError
from worker.authoring.task_function import Function, Origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

# Where the made-up package of a folder remembers the folder.
_FOLDER_ATTRIBUTE = "__cabrank_folder__"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailure:
    """A file that could not be loaded.

    Attributes:
        file: its path.
        line: of the file, where it went wrong; 0 when it says nothing about that.
        error_type: name of the exception class.
        message: what the exception says.
    """

    file: str
    line: int
    error_type: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.error_type}: {self.message}"


class DiscoveryError(ConfigError):
    """A file of functions, services or tags cannot be loaded."""

    def __init__(self, message: str, *, load_failure: LoadFailure | None = None) -> None:
        super().__init__(message)
        self.load_failure = load_failure


@dataclass(slots=True, kw_only=True)
class Discovered:
    """What the files of a worker declare.

    Attributes:
        functions: the functions to host.
        services: the services to run, by name.
        tags: the sources of tags, in the order of their files.
        failures: files that could not be loaded, or whose declarations clash; always empty unless
            the discovery was told to keep going.
    """

    functions: Registry = field(default_factory=Registry)
    services: dict[str, ServiceDefinition] = field(default_factory=dict[str, ServiceDefinition])
    tags: list[TagSource] = field(default_factory=list[TagSource])
    failures: list[LoadFailure] = field(default_factory=list[LoadFailure])


def discover(functions: Path, *, keep_going: bool = False) -> Discovered:
    """Load every file of a functions folder and of `services/` and `tags/` beside it.

    Args:
        functions: the functions folder; the other two may be missing.
        keep_going: collect the files that fail in `failures` instead of stopping at the first.

    Raises:
        DiscoveryError: the functions folder is missing, or a file fails to load.
    """
    functions = functions.resolve()
    if not functions.is_dir():
        raise DiscoveryError(f"functions folder not found: {functions}")
    found = Discovered()
    for folder, add in (
        (functions, _add_functions),
        (functions.parent / "services", _add_services),
        (functions.parent / "tags", _add_tags),
    ):
        for file in source_files(folder):
            try:
                add(found, load_file(folder, file))
            except DiscoveryError as error:
                if error.load_failure is None or not keep_going:
                    raise
                found.failures.append(error.load_failure)
    return found


def source_files(folder: Path) -> Iterator[Path]:
    """Walk the Python files of a folder that count, in the order of their paths."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("_", ".")):
            continue
        if path.is_dir():
            yield from source_files(path)
        elif path.suffix == ".py":
            yield path


def load_file(folder: Path, file: Path) -> ModuleType:
    """Import a file of a folder, once per process.

    Raises:
        DiscoveryError: it fails to import; names file, line and exception.
    """
    steps = file.relative_to(folder).with_suffix("").parts
    try:
        if any("." in step for step in steps):
            raise DeclarationError("a file or folder with a dot in its name cannot be imported")
        return importlib.import_module(".".join((_package_of(folder), *steps)))
    except (
        Exception,
        SystemExit,
    ) as error:  # a file may also end the process; that is a failure too
        raise _failed(file, error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionAddress:
    """Where another process finds a function; made of texts, so it crosses process boundaries.

    Attributes:
        folder: the folder that the file was discovered in; "" when its module was imported.
        module: name of its module.
        file: path of its file, for a module that another process cannot import by name.
        name: of the function.
    """

    folder: str
    module: str
    file: str
    name: str


def address_of(function: Function[..., object]) -> FunctionAddress:
    """Return where another process finds a function."""
    module = str(function.handler.__module__)
    folder = getattr(sys.modules.get(module.partition(".")[0]), _FOLDER_ATTRIBUTE, "")
    return FunctionAddress(
        folder=folder, module=module, file=function.origin.file, name=function.name
    )


def load_function(address: FunctionAddress) -> Function[..., object]:
    """Load one function, in another process than the one that gave its address.

    Raises:
        DiscoveryError: its file fails to load or no longer declares it.
    """
    for function in functions_in(_load_address(address)):
        if function.name == address.name:
            return function
    raise DiscoveryError(f"{address.file} declares no function '{address.name}'")


def _load_address(address: FunctionAddress) -> ModuleType:
    file = Path(address.file)
    if address.folder:
        return load_file(Path(address.folder), file)
    try:
        if address.module != "__main__":  # here that is another program
            return importlib.import_module(address.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{address.module}.".startswith(f"{error.name}."):
            raise _failed(file, error) from error
    except Exception as error:
        raise _failed(file, error) from error
    return load_file(file.parent, file)


def functions_in(module: ModuleType) -> list[Function[..., object]]:
    """Return the functions that stand in a module's namespace, imported ones included, each once."""
    members: list[object] = list(vars(module).values())
    found = [
        cast("Function[..., object]", member) for member in members if isinstance(member, Function)
    ]
    return list({id(function): function for function in found}.values())


def _add_functions(found: Discovered, module: ModuleType) -> None:
    for function in functions_in(module):
        try:
            found.functions.add(function)
        except DeclarationError as error:
            raise _failed(Path(function.origin.file), error, function.origin.line) from error


def _add_services(found: Discovered, module: ModuleType) -> None:
    try:
        for definition in _services_in(module):
            other = found.services.setdefault(definition.name, definition)
            if other.origin != definition.origin:
                raise DeclarationError(
                    f"two services are called '{definition.name}': {other.origin} and {definition.origin}"
                )
    except DeclarationError as error:
        raise _failed(_file_of(module), error) from error


def _add_tags(found: Discovered, module: ModuleType) -> None:
    try:
        sources = _tags_in(module)
    except DeclarationError as error:
        raise _failed(_file_of(module), error) from error
    found.tags.extend(source for source in sources if source not in found.tags)


def _services_in(module: ModuleType) -> list[ServiceDefinition]:
    """Return the marked classes, or the module itself when it has the three functions."""
    classes: list[type[object]] = [m for m in vars(module).values() if inspect.isclass(m)]
    definitions = [
        cast("ServiceDefinition", vars(cls)[SERVICE_ATTRIBUTE])
        for cls in classes
        if SERVICE_ATTRIBUTE in vars(cls)
    ]
    if not any(inspect.isfunction(vars(module).get(method)) for method in SERVICE_METHODS):
        return definitions
    file = _file_of(module)
    check_service(module, file.stem, f"service '{file.stem}' ({file})")
    itself = ServiceDefinition(
        name=file.stem,
        description=inspect.getdoc(module) or "",
        make=lambda: cast("Service", module),
        origin=Origin(str(file), 1),
    )
    return [*definitions, itself]


def _tags_in(module: ModuleType) -> list[TagSource]:
    """Return what `@tags` marked, and the plain `async def tags()` of the file."""
    members: dict[str, object] = vars(module)
    sources = [member for member in members.values() if isinstance(member, TagSource)]
    plain = members.get("tags")
    # `from cabrank import tags` puts a function of that name there too: the decorator.
    if inspect.isfunction(plain) and plain.__module__ == module.__name__:
        file = _file_of(module)
        source = declare_tags(
            cast("Callable[[], Awaitable[Mapping[str, object]]]", plain),
            name=file.stem,
            interval_s=cast("float", members.get("interval_s", DEFAULT_TAGS_INTERVAL_S)),
            origin=Origin(str(file), plain.__code__.co_firstlineno),
        )
        sources.append(source)
    return sources


def _package_of(folder: Path) -> str:
    """Return the name of the package that stands for a folder, made when it is new."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    name = f"cabrank_{folder.name}_{digest}".replace(".", "_")
    importlib.invalidate_caches()  # the files may be newer than what the import system has seen
    if name not in sys.modules:
        package = ModuleType(name, f"The files of {folder}.")
        package.__path__ = [str(folder)]
        setattr(package, _FOLDER_ATTRIBUTE, str(folder))
        sys.modules[name] = package
    return name


def _file_of(module: ModuleType) -> Path:
    return Path(module.__file__ or module.__name__)


def _failed(file: Path, error: BaseException, line: int | None = None) -> DiscoveryError:
    failure = LoadFailure(
        file=str(file),
        line=_line_in(file, error) if line is None else line,
        error_type=type(error).__name__,
        message=str(error) or "no message",
    )
    return DiscoveryError(str(failure), load_failure=failure)


def _line_in(file: Path, error: BaseException) -> int:
    """Return the last line of the file that the exception passed through."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or 0
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno or 0 for frame in frames if frame.filename == str(file)]
    return lines[-1] if lines else 0
