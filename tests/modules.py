"""The modules of the package, and which of them show examples."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("catalogs", "models", "pipeline")
PATHS = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return f"terralatent.{name.removesuffix('.__init__')}"


PUBLIC = ">>> import terralatent as tl"
"""How examples of public names begin: they find stores in the current folder."""

_SHOWING = {
    name_of(path): PUBLIC in text for path in PATHS if ">>> " in (text := path.read_text("utf-8"))
}
ON_STORES = [name for name, on_stores in _SHOWING.items() if on_stores]
ON_THEIR_OWN = [name for name, on_stores in _SHOWING.items() if not on_stores]
