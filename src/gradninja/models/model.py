"""Loading a model file and calling its functions by the names of what they want."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, ModuleType

from gradninja.errors import GradninjaError, ModelError
from gradninja.files import read_text
from gradninja.models.model_text import Source, innermost
from gradninja.models.splicing import Step, alone, splice

BUILTIN: tuple[str, ...] = (
    *("bigram", "mlp", "mlp_batchnorm", "wavenet", "bow", "rnn", "gru", "lstm"),
    *("transformer", "microgpt"),
)
# Numbers that a model file may ask for by name: the data's, and those that a person may choose.
SIZES = ("vocab", "context", "embedding", "hidden", "width", "layers", "heads")

_REQUIRED = ("parameters", "forward")
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Model:
    """A model file, read and executed.

    Attributes:
        name: a built-in name, or the file's name without its ending.
        path: the file.
        text: the file's text.
        options: the parameters of `forward` with a plain default, and those defaults; sizes are
            none of them.
    """

    name: str
    path: Path
    text: str = field(repr=False)
    options: Mapping[str, object]
    _source: Source = field(repr=False)
    _namespace: dict[str, object] = field(repr=False)

    def has(self, function: str) -> bool:
        """Whether the file defines this function."""
        return function in self._source.functions

    @cached_property
    def whole_words(self) -> bool:
        """Whether an example is a whole word: `Yb` is annotated with two axes, (n, context)."""
        node = self._function("forward")
        found = [a.annotation for a, _ in self._source.arguments(node) if a.arg == "Yb"]
        shape = found[0].slice if found and isinstance(found[0], ast.Subscript) else None
        text = shape.elts[-1] if isinstance(shape, ast.Tuple) and shape.elts else None
        axes = text.value if isinstance(text, ast.Constant) else None
        return isinstance(axes, str) and len(axes.split()) == 2

    def settings(self) -> dict[str, object]:
        """What a run of this model has unless it is told otherwise. Raises ModelError."""
        found = self.call("settings", {}) if self.has("settings") else {}
        if not isinstance(found, dict):
            raise ModelError(f"{self.name}: settings must return a dict of values by name")
        return dict(found)

    def predict(self, values: Mapping[str, object]) -> object:
        """The logits of what comes after `Xb`: of `predict`, or else the `logits` of `forward`.

        Raises:
            ModelError: as `call` does, or the forward has no `logits`.
        """
        if self.has("predict"):
            return self.call("predict", values)
        found = self._forward(values)
        if "logits" not in found:
            raise ModelError(
                f"{self.path} tells no logits",
                hint="name them `logits` in the forward, or write a function `predict`",
            )
        return found["logits"]

    @cached_property
    def _forward(self) -> Step:
        return alone(self._source, self.options, self._namespace)

    def arguments(self, function: str) -> tuple[str, ...]:
        """The names of what a function of the file takes. Raises ModelError as `call` does."""
        return tuple(a.arg for a, _ in self._source.arguments(self._function(function)))

    def call(self, function: str, values: Mapping[str, object]) -> object:
        """Call a function of the file, giving it what it asks for by name.

        Args:
            values: at least what the function has no default for; more does no harm.

        Raises:
            ModelError: the file has no such function, a value is missing, or a line failed.
        """
        node = self._function(function)
        given = {}
        for argument, default in self._source.arguments(node):
            if argument.arg in values:
                given[argument.arg] = values[argument.arg]
            elif default is None:
                raise ModelError(
                    f"`{function}` asks for `{argument.arg}`, which is not there",
                    spot=self._source.spot(argument),
                    hint=f"it can have: {', '.join(values)}",
                )
        try:
            return self._namespace[function](**given)  # type: ignore[operator]
        except Exception as error:
            raise _blame(self._source, error) from error

    def check(self, values: Mapping[str, object]) -> None:
        """Ask the file's `check` whether it can work with these sizes (`n` too) and options.

        Raises:
            ModelError: it cannot; the message is the sentence that `check` returned.
        """
        if self.has("check") and (refusal := self.call("check", values)):
            raise ModelError(str(refusal))

    def step(self, backward: str | None = None, source: str | None = None) -> Step:
        """Forward and backward as one function, to be called 200,000 times.

        Args:
            backward: the function of the file that is the backward; when None, `backward_fused`
                if the file has it, else `backward`.
            source: the text of a backward from elsewhere, used in place of the file's: imports
                and one function (named `backward` where it has several). A `forward` in it stands
                in place of the file's, too.

        Raises:
            ModelError: there is no such function, or forward and backward do not fit together.
        """
        if source is None:
            name = backward or ("backward_fused" if self.has("backward_fused") else "backward")
            self._function(name)
            return splice(self._source, self.options, self._source, name, self._namespace)
        elsewhere = Source("<derived backward>", source)
        names = [name for name in elsewhere.functions if name != "forward"]
        name = backward or (names[0] if len(names) == 1 else "backward")
        if name not in names:
            raise ModelError(f"the text given as a backward has no function `{name}`")
        namespace = dict(self._namespace)
        _execute(elsewhere, namespace)
        file = elsewhere if "forward" in elsewhere.functions else self._source
        return splice(file, self.options, elsewhere, name, namespace)

    def _function(self, name: str) -> ast.FunctionDef:
        functions = self._source.functions
        if name not in functions:
            raise ModelError(
                f"{self.path} has no function `{name}`",
                hint=f"it has: {', '.join(functions)}",
            )
        return functions[name]


def load(name_or_path: str | Path) -> Model:
    """Read a built-in model by its name, or a person's own model file.

    Raises:
        ModelError: there is no such file, it is not Python, it fails when it is executed, or it
            lacks a function that every model has.
    """
    name = str(name_or_path)
    path = _FOLDER / f"{name}.py" if name in BUILTIN else Path(name_or_path)
    source = Source(str(path), _read(path))
    functions = source.functions
    missing = [function for function in _REQUIRED if function not in functions]
    if missing:
        raise ModelError(
            f"{path} has no function `{missing[0]}`",
            hint=f"a model file has at least {', '.join(f'`{name}`' for name in _REQUIRED)}",
        )
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    _execute(source, module.__dict__)
    return Model(path.stem, path, source.text, _options(source), source, module.__dict__)


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        close = difflib.get_close_matches(str(path), BUILTIN, 1)
        raise ModelError(
            f"there is no model {path}",
            hint=f"did you mean `{close[0]}`?"
            if close
            else f"give the path of a model file, or one of: {', '.join(BUILTIN)}",
        ) from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not UTF-8 text: {error.reason}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None


def _execute(source: Source, namespace: dict[str, object]) -> None:
    code = source.compile()
    try:
        exec(code, namespace)
    except Exception as error:
        raise _blame(source, error) from error


def _options(source: Source) -> Mapping[str, object]:
    options = {}
    for argument, default in source.arguments(source.functions["forward"]):
        if default is None or argument.arg in SIZES:
            continue
        try:
            options[argument.arg] = ast.literal_eval(default)
        except ValueError:
            raise ModelError(
                f"the default of `{argument.arg}` is not a plain value",
                spot=source.spot(default),
                hint="an option of the forward is a number, a text, True, False or None",
            ) from None
    return MappingProxyType(options)


def _blame(source: Source, error: Exception) -> GradninjaError:
    """The same error, said of the line of the person's file that it came from."""
    if isinstance(error, GradninjaError):
        return error
    place = innermost(error.__traceback__, source.file)
    spot = None if place is None else source.spot_at(*place)
    return ModelError(f"{type(error).__name__}: {error}", spot=spot)
