#!/usr/bin/env python3
"""Turn `apt-cache dumpavail` on standard input into NDJSON for the demo's index.

Usage: apt-cache dumpavail | packages.py [LIMIT]

At most about LIMIT records are written (0: all), spread evenly over the alphabet; packages that everybody has, such as
`bash`, are always among them.
"""

import json
import re
import sys
import zlib

FAMILIAR = {"bash", "coreutils", "curl", "gcc", "git", "nano", "nginx", "postgresql", "python3", "vim", "emacs"}


def stanzas(lines):
    """Yield each control paragraph as a dict of lower-case names; continuation lines are joined."""
    fields, name = {}, None
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields, name = {}, None
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    if fields:
        yield fields


def record(fields):
    """The document of one package; None when it has no usable name."""
    name = fields.get("package", "")
    # A Meilisearch id has letters, digits, hyphens and underscores only: `g++` becomes `g_p_p`.
    key = re.sub(r"[^A-Za-z0-9_-]", "_", name.replace("+", "_p").replace(".", "_d"))
    if not key:
        return None
    summary, _, text = (fields.get("description") or fields.get("description-en") or "").partition("\n")
    tags = [tag for tag in re.split(r"[,\s]+", fields.get("tag", "")) if tag]
    document = {
        "id": key,
        "name": name,
        "version": fields.get("version", ""),
        "section": fields.get("section", "misc").rpartition("/")[2],
        "priority": fields.get("priority", "optional"),
        "size": number(fields.get("size")),
        "installedSize": number(fields.get("installed-size")),
        "summary": summary,
    }
    if text:
        document["description"] = text
    if tags:
        document["tags"] = tags
    if fields.get("homepage"):
        document["homepage"] = fields["homepage"]
    return document


def number(text):
    return int(text) if text and text.isdigit() else 0


def chosen(document, share):
    if document["name"] in FAMILIAR or document["priority"] in ("required", "important", "standard"):
        return True
    return zlib.crc32(document["name"].encode()) / 2**32 < share


def main():
    limit = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    source = open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False)
    documents = {}
    for fields in stanzas(source):
        document = record(fields)
        if document:
            documents.setdefault(document["id"], document)
    share = limit / len(documents) if 0 < limit < len(documents) else 1.0
    for document in documents.values():
        if chosen(document, share):
            print(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
