"""The pfSense double's config.xml: what of it survives being read and written, the cache, the lock and the history."""

from __future__ import annotations

import fcntl
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pfsense_double import PfSense

FIXTURES = Path(__file__).parents[1] / "pfsense/fixtures"
GOLDEN = (FIXTURES / "golden-package-written.xml").read_text()
FULL = (FIXTURES / "good-full-site.xml").read_text()
SMALL = '<?xml version="1.0"?>\n<pfsense>\n\t<version>23.3</version>\n\t<system>\n{}\t</system>\n</pfsense>\n'

Make = Callable[..., PfSense]


@pytest.fixture(params=["2.7.2", "2.8.0"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def firewall(version: str = "2.7.2", config: str = SMALL.format("")) -> PfSense:
        return PfSense(tmp_path / "fw", version, config)

    return firewall


def write(firewall: PfSense, change: str, description: str = "a change") -> None:
    done = firewall.php(f"require_once('config.inc'); {change} write_config('{description}');")
    assert (done.status, done.out) == (0, ""), done


def without_revision(xml: str) -> str:
    return re.sub(r"\t<revision>.*</revision>\n", "", xml, flags=re.DOTALL)


def canonical(xml: str) -> str:
    """The document without its indentation and without how its text is quoted."""
    return ElementTree.canonicalize(without_revision(xml), strip_text=True)


def test_what_the_package_wrote_comes_back_byte_for_byte(make: Make, version: str) -> None:
    firewall = make(version, GOLDEN)
    write(firewall, "")
    assert without_revision(firewall.xml) == without_revision(GOLDEN)


def test_a_full_site_is_the_same_document_after_being_written(make: Make, version: str) -> None:
    firewall = make(version, FULL)
    write(firewall, "")
    assert canonical(firewall.xml) == canonical(FULL)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("<item><a>1</a></item>", {"item": [{"a": "1"}]}),
        ("<item><a>1</a></item><item><a>2</a></item>", {"item": [{"a": "1"}, {"a": "2"}]}),
        ("<item></item><item><a>2</a></item>", {"item": [{"a": "2"}]}),
        ("<addresses></addresses>", {"addresses": ""}),
        ("<Descr attribute='x'>\n\t\tx y \n</Descr>", {"descr": "x y "}),
        ("<descr><![CDATA[R&amp;D &eacute;]]></descr>", {"descr": "R&D é"}),
        ("<endpoint>a &amp; b</endpoint>", {"endpoint": "a & b"}),
    ],
)
def test_what_is_read(make: Make, version: str, text: str, read: dict[str, object]) -> None:
    assert make(version, SMALL.format(text)).value("config_get_path('system')") == read


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("['enable' => true, 'disabled' => false]", "<enable></enable>"),
        ("['descr' => 'R&D é']", "<descr><![CDATA[R&amp;D &eacute;]]></descr>"),
        ("['statetype' => 'keep state']", "<statetype><![CDATA[keep state]]></statetype>"),
        ("['mydescr' => 'R&D']", "<mydescr>R&amp;D</mydescr>"),
        ("['presharedkey' => '']", "<presharedkey></presharedkey>"),
        ("['row' => [['mask' => 24], ['mask' => '0']]]", "<row><mask>24</mask></row><row><mask>0</mask></row>"),
    ],
)
def test_what_is_written(make: Make, version: str, value: str, written: str) -> None:
    firewall = make(version)
    write(firewall, f"config_set_path('system', {value});")
    assert f"<system>{written}</system>" in re.sub(r"[\n\t]", "", firewall.xml)


def test_an_element_twice_kills_every_page_of_2_7_2(make: Make) -> None:
    firewall = make("2.7.2", SMALL.format("<tunnels></tunnels>\n<tunnels></tunnels>\n"))
    done = firewall.php("require_once('config.inc'); echo 'alive';")
    assert done.status == 255
    assert "XML error: TUNNELS at line 6 cannot occur more than once" in done.out + done.err
    assert "alive" not in done.out


def test_an_element_twice_makes_2_8_restore_the_last_backup_in_silence(make: Make) -> None:
    firewall = make("2.8.0")
    write(firewall, "config_set_path('system/hostname', 'before');")
    write(firewall, "")
    bad = firewall.xml.replace("<hostname>before", "<hostname>after</hostname><hostname>")
    firewall.xml = bad
    done = firewall.php("require_once('config.inc'); echo config_get_path('system/hostname');")
    assert (done.status, done.out) == (0, "before")
    assert (firewall.root / "cf/conf/config.xml.bad").read_text() == bad
    assert "after" not in firewall.xml


def test_non_ascii_outside_of_cdata_makes_the_file_unreadable(make: Make, version: str) -> None:
    firewall = make(version)
    done = firewall.php(
        "require_once('config.inc'); config_set_path('system/endpoint', 'é'); var_dump(write_config('x'));"
    )
    assert done.out == "int(-1)\n"
    assert "<endpoint>&eacute;</endpoint>" in firewall.xml
    with pytest.raises(ElementTree.ParseError, match="undefined entity"):
        ElementTree.fromstring(firewall.xml)
    forced = firewall.php(
        "require_once('config.inc'); $config = parse_config(true); var_dump(config_get_path('system/endpoint'));"
    )
    assert forced.out == "NULL\n"  # the last backup, without the change


def test_the_cache_is_believed_until_somebody_removes_it(make: Make, version: str) -> None:
    firewall = make(version, SMALL.format("<hostname>old</hostname>"))
    assert firewall.value("config_get_path('system/hostname')") == "old"
    file = firewall.root / "cf/conf/config.xml"
    file.write_text(file.read_text().replace("old", "new"))
    assert firewall.value("config_get_path('system/hostname')") == "old"
    (firewall.root / "tmp/config.cache").unlink()
    assert firewall.value("config_get_path('system/hostname')") == "new"


def test_a_forced_read_is_a_value_on_2_7_2_and_is_config_on_2_8(make: Make, version: str) -> None:
    firewall = make(version, SMALL.format("<hostname>old</hostname>"))
    firewall.value("1")
    file = firewall.root / "cf/conf/config.xml"
    file.write_text(file.read_text().replace("old", "new"))
    done = firewall.php(
        "require_once('config.inc'); function_exists('config_read_file') ? config_read_file(true) : parse_config(true);"
        "echo config_get_path('system/hostname');"
    )
    assert done.out == {"2.7.2": "old", "2.8.0": "new"}[version]


def test_a_write_waits_for_whoever_holds_the_lock(make: Make, version: str) -> None:
    firewall = make(version)
    firewall.value("1")
    with (firewall.root / "tmp/config.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script = "<?php require_once('config.inc'); write_config('x');"
        running = subprocess.Popen(firewall.command, stdin=subprocess.PIPE, env=firewall.environment, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            running.communicate(script, timeout=0.3)
        assert firewall.entries("write") == []
    running.communicate(timeout=10)
    assert len(firewall.entries("write")) == 1


def test_the_history_holds_what_was_replaced(make: Make, version: str) -> None:
    firewall = make(version, GOLDEN)
    write(firewall, "config_set_path('system/hostname', 'other');", "renamed")
    assert [file.name for file in firewall.backups] == ["config-1795248291.xml"]
    assert firewall.backups[0].read_text() == GOLDEN
    assert firewall.value("config_get_path('revision/description')") == "(system): renamed"
    cache = firewall.value("unserialize(file_get_contents(g_get('cf_conf_path') . '/backup/backup.cache'))")
    assert list(cache) == ["1795248291"]
    assert cache["1795248291"]["version"] == "23.3"
    assert (firewall.root / "cf/conf/config.xml").stat().st_mode & 0o777 == 0o644


def test_writes_within_a_second_share_a_backup(make: Make) -> None:
    firewall = make()
    done = firewall.php("require_once('config.inc'); for ($n = 0; $n < 20; $n++) { write_config(\"n $n\"); }")
    assert done.status == 0
    assert len(firewall.entries("write")) == 20
    assert len(firewall.backups) < 5


@pytest.mark.parametrize(("setting", "kept"), [("", 30), ("<backupcount>4</backupcount>", 4)])
def test_old_backups_are_pruned(make: Make, setting: str, kept: int) -> None:
    firewall = make(config=SMALL.format(setting))
    for number in range(40):
        (firewall.root / f"cf/conf/backup/config-17000000{number:02}.xml").write_text(firewall.xml)
    write(firewall, "")
    assert len(firewall.backups) == kept
    assert firewall.backups[-1].name == "config-1700000039.xml"


@pytest.mark.parametrize(("description", "remote"), [("x", True), ("x-NoReMoTeBaCkUp", False)])
def test_a_description_keeps_a_revision_from_the_remote_backup(make: Make, description: str, remote: bool) -> None:
    firewall = make()
    write(firewall, "", description)
    assert [(entry["description"], entry["remote_backup"]) for entry in firewall.entries("write")] == [("x", remote)]


def test_nothing_is_written_while_factory_defaults_are_due(make: Make) -> None:
    firewall = make()
    write(firewall, "$config['reset_factory_defaults'] = true; config_set_path('system/hostname', 'x');")
    assert (firewall.entries("write"), firewall.backups) == ([], [])


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("config_get_path('system/missing')", None),
        ("config_get_path('system/missing', [])", []),
        ("config_get_path('system/empty')", ""),
        ("config_get_path('system/empty', [])", []),
        ("config_get_path('system/hostname/below', 'x')", "x"),
        ("[config_set_path('system/hostname/below', 'x'), config_get_path('system/hostname')]", [None, "fw"]),
        ("[config_set_path('system/empty/a/b', 'x'), config_get_path('system/empty')]", ["x", {"a": {"b": "x"}}]),
        ("[config_del_path('system/item/0'), config_get_path('system/item')]", ["1", {"1": "2"}]),
        ("config_del_path('system/missing')", None),
        ("config_path_enabled('system')", False),
    ],
)
def test_paths(make: Make, version: str, expression: str, value: object) -> None:
    config = SMALL.format("<hostname>fw</hostname><empty></empty><item>1</item><item>2</item>")
    assert make(version, config).value(expression) == value


def test_a_page_may_begin_with_a_dot(make: Make) -> None:
    firewall = make()
    (firewall.root / "var/run/booting").touch()
    assert firewall.php("require_once('config.inc'); echo '{}';").out == ".{}"


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_test_kills_php_at_a_write(make: Make, point: str) -> None:
    firewall = make()
    firewall.fault(f"{point} write 2")
    done = firewall.php(
        "require_once('config.inc');"
        "foreach (['a', 'b', 'c'] as $n) { config_set_path('system/n', $n); write_config($n); }"
    )
    assert done.status == -9
    kept = {"before": "a", "after": "b"}[point]
    assert f"<n>{kept}</n>" in firewall.xml
    assert not (firewall.root / "var/double/fault").exists()
