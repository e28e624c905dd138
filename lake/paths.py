"""Where things are: ``silver.orders`` to a URI. Nobody else joins the lake's paths."""

import contextlib
import shutil
from pathlib import Path

import msgspec

LAYERS = ("bronze", "rules", "silver", "gold", "ops")


class Lake(msgspec.Struct, frozen=True):
    """A lake's place: a folder, or the URI of an object store's prefix (credentials: environment)."""

    root: str

    @property
    def is_local(self) -> bool:
        """True where the lake is a folder of this machine."""
        return "://" not in self.root

    def uri(self, table: str) -> str:
        """Return the Delta table's URI; ``table`` is ``layer.name``."""
        layer, name = table.split(".")
        if layer not in LAYERS:
            raise ValueError(f"{table}: {layer} is no layer; the layers are {', '.join(LAYERS)}")
        return f"{self.place}/{layer}/{name}"

    @property
    def place(self) -> str:
        """The root, absolute, without a slash at its end."""
        return str(Path(self.root).absolute()) if self.is_local else self.root.rstrip("/")

    def remove(self) -> None:
        """Delete a local lake: every layer, and the root where nothing else is in it."""
        for layer in LAYERS:
            shutil.rmtree(Path(self.place) / layer, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path(self.place).rmdir()

    def tables(self, layer: str) -> list[str]:
        """Return the names of the tables that a local lake has in a layer."""
        folder = Path(self.place) / layer
        return sorted(f"{layer}.{log.parent.name}" for log in folder.glob("*/_delta_log"))
