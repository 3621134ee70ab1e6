#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-docs.py TOP - names in the documentation are those of the code, all of them and no others."""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

from tap import Tap

TOP = pathlib.Path(sys.argv[1])


def read(name):
    """The text of a file of the tree."""
    return (TOP / name).read_text(encoding="utf-8")


def differ(what, code, docs):
    """Problems where two sets (or dictionaries) are not the same."""
    problems = [f"{what} {x} is not documented" for x in sorted(set(code) - set(docs))]
    problems += [f"{what} {x} is documented but not there" for x in sorted(set(docs) - set(code))]
    if isinstance(code, dict):
        problems += [f"{what} {x}: documented as {docs[x]}, but it is {code[x]}"
                     for x in sorted(set(code) & set(docs)) if code[x] != docs[x]]
    return problems


def section(text, title):
    """The part of a Markdown text below a heading, up to the next of its level or above."""
    level = title.split(" ")[0]
    body = text.split(f"\n{title}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", body, maxsplit=1, flags=re.M)[0]


def rows(text, head):
    """The rows of the first table whose first heading is @head, as lists of cells."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {head} |"):
            break
    next(lines, None)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def plain(cell):
    """A name in a table without its backquotes."""
    return cell.strip("`")


def check_interface(docs, node):
    """Methods, signals and properties of one interface."""
    name = node.get("name")
    part = section(docs, f"## {name}")
    problems = []

    def arguments(item, direction):
        return ", ".join(f"{a.get('type')} {a.get('name')}" for a in item.findall("arg")
                         if a.get("direction", "out") == direction)

    code = {m.get("name"): (arguments(m, "in"), arguments(m, "out")) for m in node.findall("method")}
    found = {}
    for row in rows(part, "method"):
        # a method without arguments at all has no columns for them
        found[plain(row[0])] = (row[1], row[2]) if len(row) == 5 else ("", "")
    problems += differ(f"{name} method", code, found)

    code = {p.get("name"): p.get("type") for p in node.findall("property")}
    found = {plain(row[0]): row[1] for row in rows(part, "property")}
    problems += differ(f"{name} property", code, found)

    code = {s.get("name"): arguments(s, "out") for s in node.findall("signal")}
    found = {plain(row[0]): row[1] for row in rows(part, "signal")}
    return problems + differ(f"{name} signal", code, found)


def check_options(docs):
    """Keys of a{sv}, from the tables in the daemon."""
    source = read("daemon/bus-manager.c")
    problems = []
    for function, title in (("image_call", "Options of `Update` and `Plan`:"),
                            ("on_begin", "Options of `Begin`:"),
                            ("on_merge", "Options of `Merge`:"),
                            ("on_export", "Options of `Export`:"),
                            ("on_restore", "Options of `Restore`:")):
        body = source.split(f" {function}(", 1)[1].split("\n}\n", 1)[0]
        code = dict(re.findall(r"\{\"([a-z0-9-]+)\", '(\w)'\}", body))
        found = {plain(r[0]): r[1] for r in rows(docs.split(title, 1)[1], "key")}
        problems += differ(f"option ({function})", code, found)

    types = {"STRING": "s", "U64": "t", "STRINGS": "as"}
    body = read("daemon/packet.c").split(" image_fields[] = {", 1)[1].split("};", 1)[0]
    code = {key: types[kind] for key, kind in re.findall(r'\{"([a-z-]+)", FIELD_(\w+)', body)}
    found = {plain(r[0]): r[1] for r in rows(docs.split("Keys of `Inspect`:", 1)[1], "key")}
    return problems + differ("key of Inspect", code, found)


def check_errors(docs):
    """Error names with abctl's exit codes."""
    source = read("base/err.c")
    codes = dict(re.findall(r"\b(EXIT_[A-Z]+) = (\d+)", source))
    code = {name: codes[exit] for name, exit in re.findall(r"= \{\"(\w+)\", (EXIT_\w+)\}", source)}
    found = {plain(r[0]): r[1] for r in rows(section(docs, "## Errors"), "name")}
    return differ("error", code, found)


def check_words(docs):
    """Words of enums that leave the process."""
    problems = []
    for file, table, where in (("backends/slot.c", "slot_state_names", "| `State` | s | `empty`"),
                               ("update/journal.c", "phase_names", "| `Phase` |"),
                               ("daemon/job.c", "job_type_names", "| `Type` |")):
        body = read(file).split(f"{table}[", 1)[1].split("};", 1)[0]
        code = set(re.findall(r'"([a-z-]+)"', body)) - {"idle"}
        line = next(x for x in docs.splitlines() if x.startswith(where))
        problems += differ(f"word of {table}", code, set(re.findall(r"`([a-z-]+)`", line)))
    return problems


def check_actions(docs):
    """polkit actions."""
    code = set(re.findall(r'<action id="([^"]+)"', read("dbus/org.abupdate1.policy")))
    found = {plain(r[0]) for r in rows(section(docs, "## polkit actions"), "action")}
    return differ("polkit action", code, found)


def check_configuration():
    """Keys with their sections: the parser, the man page, the example; and the defaults of these."""
    source = read("os/config-keys.c")
    table = source.split(" keys[] = {", 1)[1].split("};", 1)[0]
    code = {f"[{s}] {k}=" for s, k in re.findall(r'\{"(\w+)", "(\w+)", parse_', table)}

    manual, here, defaults = set(), None, {}
    page = read("docs/abupdated.conf.5.scd")
    for heading, key in re.findall(r"^# \[(\w+)\] SECTION$|^\*(\w+)=\*$", page, flags=re.M):
        here = heading.capitalize() if heading else here
        if key:
            manual.add(f"[{here}] {key}=")
            text = page.split(f"\n*{key}=*\n", 1)[1].split("\n*", 1)[0]
            match = re.search(r"Default:\s+(?:_([^_]+)_|(?:not set|empty)[.,])", text)
            defaults[key] = (match[1] or "") if match else "(the page says none)"

    example, here, values = set(), None, {}
    for line in read("docs/abupdated.conf").splitlines():
        here = line[1:-1] if line.startswith("[") else here
        match = re.match(r"#(\w+)=(.*)$", line)
        if match:
            example.add(f"[{here}] {match[1]}=")
            values[match[1]] = match[2]
    return (differ("key (man page)", code, manual) + differ("key (example)", code, example) +
            differ("default (example)", defaults, values))


def check_programs():
    """Long options of the programs beside abctl; message ids."""
    page = read("docs/abupdated.8.scd")
    code = set()
    for file in ("daemon/main.c", "health/abupdate-health.c", "initrd/abupdate-initrd.c"):
        code |= set(re.findall(r'\{"([a-z-]+)", (?:no|required)_argument', read(file)))
    code -= {"worker-program"}          # for tests alone
    ids = set(re.findall(r'"([0-9a-f]{32})"', read("daemon/event.h")))
    return (differ("option --", code, set(re.findall(r"\*--([a-z-]+)=?\*", page))) +
            differ("message id", ids, set(re.findall(r"\b[0-9a-f]{32}\b", page))) +
            differ("message id (catalog)", ids,
                   set(re.findall(r"^-- ([0-9a-f]{32})$", read("systemd/abupdate.catalog"), re.M))))


def check_client():
    """Verbs and options of abctl."""
    source, page = read("client/main.c"), read("docs/abctl.1.scd")
    table = source.split(" verbs[] = {", 1)[1].split("\n};", 1)[0]
    code = {m for m in re.findall(r'\{(?:"[A-Z]\w*"|NULL), "([a-z]+)"', table)}
    body = re.search(r"^# VERBS THAT LOOK$.*?(?=^# GLOBAL OPTIONS$)", page, re.M | re.S)[0]
    body += re.search(r"^# IMAGES$.*?(?=^# )", page, re.M | re.S)[0]
    found = set(re.findall(r"^\*([a-z]+)\*(?= |$)", body, flags=re.M))
    source += read("client/image-main.c")
    options = set(re.findall(r"OPT(?:_ARG|_MANY)?\((?:0|'\w'), \"([a-z-]+)\"", source))
    return (differ("verb", code, found) +
            differ("option --", options, set(re.findall(r"\*--([a-z-]+)=?\*", page))))


def check_links():
    """Links of Markdown pages lead to files of the tree."""
    problems = []
    for path in [*TOP.glob("*.md"), *(TOP / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                problems.append(f"{path.relative_to(TOP)}: {target} is not there")
    return problems


def main():
    """One case a kind of name."""
    tap = Tap()
    docs = read("docs/dbus.md")
    for node in ElementTree.fromstring(read("dbus/org.abupdate1.xml")).findall("interface"):
        tap.case(f"docs/dbus.md: {node.get('name')}", check_interface(docs, node))
    tap.case("docs/dbus.md: option keys", check_options(docs))
    tap.case("docs/dbus.md: error names and exit codes", check_errors(docs))
    tap.case("docs/dbus.md: words", check_words(docs))
    tap.case("docs/dbus.md: polkit actions", check_actions(docs))
    tap.case("abupdated.conf(5) and the example: keys and defaults", check_configuration())
    tap.case("abupdated(8): options and events", check_programs())
    if (TOP / "client/main.c").exists():
        tap.case("abctl(1): verbs and options", check_client())
    tap.case("links", check_links())
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
