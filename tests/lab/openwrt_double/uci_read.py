"""How the router's own programs read the configuration: with the deltas in /tmp/.uci, committed or not."""

from __future__ import annotations

from .uci_store import Package, Section, Store

Options = dict[str, "str | list[str]"]


def load(name: str) -> Package:
    """An empty package where there is no file. Raises UciError for one that cannot be read."""
    store = Store()
    try:
        return store.load(name)
    except Exception as error:
        if str(error) == "Entry not found":
            return Package(name)
        raise


def one(section: Section, option: str, default: str = "") -> str:
    """A value as the shell's config_get gives it: a list's items joined by blanks."""
    value = section.options.get(option, default)
    return value if isinstance(value, str) else " ".join(value)


def words(section: Section, option: str) -> list[str]:
    """The words of an option or a list: blanks part them in both, nothing else does."""
    return one(section, option).split()


def is_on(section: Section, option: str, default: bool = False) -> bool:
    """Only 1 counts for netifd, not true or on."""
    return one(section, option, "1" if default else "0") == "1"
