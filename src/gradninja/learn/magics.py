"""`%load_ext gradninja`: cells that are judged as they run, and what helps beside them."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from gradninja.check.tell.report import shape_told
from gradninja.errors import GradninjaError
from gradninja.learn.notebook import explained, hint_in, standing
from gradninja.learn.ran_forward import Lacks
from gradninja.learn.session import Session, notebook, statements


@magics_class
class Desk(Magics):
    """`%%forward`, `%%backward`, `%gradients`, `%hint NAME`, `%explain NAME`."""

    @property
    def here(self) -> Session:
        return notebook(self.shell)

    @cell_magic
    def forward(self, line: str, cell: str) -> None:
        """Run a cell of forward lines, and show each with the shape of what it gives."""
        if not self._run(cell):
            return
        rows = []
        for statement in statements(cell, "cell"):
            for name in sorted(statement.binds):
                value = self._names.get(name)
                shape = getattr(value, "shape", None)
                if shape is not None:
                    rows.append(f"{name:15s} {shape_told(tuple(shape)):15s} {statement.text}")
        print("\n".join(rows))

    @cell_magic
    def backward(self, line: str, cell: str) -> None:
        """Run a cell of backward lines, and judge every gradient that it writes."""
        if not self._run(cell):
            return
        written = {name for statement in statements(cell, "cell") for name in statement.writes}
        mine = [name[1:] for name in written if name[:1] == "d"]
        try:
            for found in standing(self.here, mine, line.strip() or None).found:
                print(found.text())
        except GradninjaError as error:
            print(error)

    @line_magic
    def gradients(self, line: str) -> None:
        """Every gradient of the forward: right, wrong or to do."""
        self._tell(lambda: standing(self.here, None, line.strip() or None))

    @line_magic
    def hint(self, line: str) -> None:
        """`%hint dhprebn`: one stage further each time; `%hint dhprebn 3`: up to stage 3."""
        name, _, stage = line.strip().partition(" ")
        asked = stage.strip()
        number = int(asked) if asked.isdigit() else asked or None
        self._tell(lambda: hint_in(self.here, _some(name, "hint"), number))

    @line_magic
    def explain(self, line: str) -> None:
        """`%explain bnraw`: the forward's line and the lines that answer it."""
        self._tell(lambda: explained(self.here, _some(line.strip(), "explain")))

    @property
    def _names(self) -> dict[str, Any]:
        shell: Any = self.shell
        names: dict[str, Any] = shell.user_ns
        return names

    def _run(self, cell: str) -> bool:
        """Run a cell as one of its own, so that what it raises is told as that, and no more."""
        shell: Any = self.shell
        return bool(shell.run_cell(cell).success)

    def _tell(self, what: Any) -> None:
        try:
            print(what())
        except GradninjaError as error:
            print(error)


def _some(name: str, magic: str) -> str:
    """Raises Lacks where a magic was given no name."""
    if not name:
        raise Lacks(f"%{magic} of what?", hint=f"a variable of the forward: %{magic} NAME")
    return name


def load(shell: Any) -> None:
    """Make the magics known to a shell."""
    shell.register_magics(Desk)
