"""Tables as strangers write them, and what has to come of them.

`table(seed, number)` makes one file and tells what is in it: every value as it was written, and either the columns with
their types and the values in them, or the place that a refusal has to name. `reading.py` has the rules.
"""

import argparse
import gzip
import json
import random
import re
import sys
from dataclasses import dataclass, field

from reading import out, type_of

# --------------------------------------------------------------------------------------------------------------- values

NASTY = [
    " ", " lead", "trail ", "a,b", 'say "hi"', '"', '""', '",', "it's", "line\nbreak", "cr\rhere", "crlf\r\nx", "\n", "tab\tx",
    "semi;colon", "pipe|x", "back\\slash", "\\N", '\\"', "\\", "NUL\0x", "\0", "é", "e\u0301", "שלום", "\u202eRTL\u202c",
    "\u200b", "\ufeffbom", "😀", "👨\u200d👩\u200d👧", "\U0010ffff", "\uffff", "\ufffd", "#comment", "=1+1", "-", "--", "1-2",
    "\x1b[31m", "\x7f", "\u0085", "\u2028", "\x1a", "\x1e", "x" * 300, "ǅ", "ﬁ", "１２", "１", "٣", "½", "{}", "[1]", '{"a":1}',
    "<b>", "%s", "${HOME}", "' OR 1", "a\u0300\u0301\u0302", "\u00a0", "\u3000x", "ﷺ",
]
NULL_LIKES = ["NULL", "null", "NA", "N/A", "n/a", "nan", "NAN", "None", "\\N", "-", "?", "#N/A", "<NA>", "undefined", "nil"]
NEAR_NUMBERS = [
    "007", "00", "-01", "00.5", "+5", "+1.5", "1,234", "1,234.50", "1.234,50", "1 234", "1_000", "0x10", "0b1", "1e", "e5", ".",
    "1.2.3", "--1", "1-2", "Infinity", "-Infinity", "INF", "+inf", "-NaN", "1f", "1d", "1L", "5%", "$5", "€5", "(5)", "5-",
    " 5", "5 ", "1e5.5", "0e", "१२", "１２", "1'000", "٣", "¹", "-", "0o7", "1.5e", "12e+", "TRUE1",
]
WORDS = ["true", "false", "True", "False", "TRUE", "FALSE", "tRuE", "yes", "no", "t", "f", "T", "Y", "on", "1", "0"]
OTHER_DATES = [
    "1/2/2024", "01/02/2024", "13/02/2024", "02/13/2024", "01.02.2024", "2024/02/29", "20240229", "2024-2-9", "2024-02",
    "Feb 29, 2024", "29 Feb 2024", "2023-02-29", "1900-02-29", "2024-13-01", "2024-00-10", "2024-04-31", "08:30", "08:30:00",
    "12345-01-01", "-2024-01-01", "+2024-01-01", "24-02-29", "2024-060", "2024-W09-4", "2024-02-29Z", "2024-02-29T",
]
OTHER_TIMES = [
    "2024-02-29T24:00:00Z", "2024-02-29T23:59:60Z", "2024-06-30 23:59:60", "2024-02-29T08", "2024-02-29T08:3", "2024-02-29T8:30:00",
    "2024-02-29T08:30:00,5Z", "2024-02-29T08:30:00.Z", "2024-02-29T08:30:00+25:00", "2024-02-29T08:30:00+02:60",
    "2024-02-29 08:30:00 UTC", "2024-02-29T08:30:00 Europe/Berlin", "2024-02-29T08:30:00+0200", "2024-02-29T08:30:00+02",
    "2024-02-29 08:30:00 +02:00", "2024-02-29T08:30:00GMT", "2023-02-29T00:00:00Z", "2024-02-29T08:30:00PM",
    "2024-02-29 08:30 PM", "20240229T083000Z", "2024-02-29T083000Z", "2024-02-29T08:30:00-00:00", "2024-02-29_08:30:00",
    "2024-02-29  08:30:00", "2024-02-29T08:30:00Z ", "2024-03-31T02:30:00", "2024-02-29T08:30:61Z", "2024-02-29T08:30-08:00",
]


def digits(rng, count):
    return str(rng.randint(1, 9)) + "".join(rng.choice("0123456789") for _ in range(count - 1))


def small(rng):
    return str(rng.randint(-1000, 1000))


def whole(rng):
    return rng.choice(
        [
            lambda: small(rng),
            lambda: str(rng.choice([1, -1]) * (2 ** rng.choice([7, 8, 15, 16, 31, 32, 53, 62]) + rng.randint(-2, 2))),
            lambda: str(rng.choice([2**63 - 1, -(2**63), 2**63 - 2, 1234567890123456789, 2**53 + 1, -(2**53) - 1, 2**62])),
            lambda: rng.choice(["", "-"]) + digits(rng, rng.randint(1, 18)),
        ]
    )()


def huge(rng):
    return rng.choice([str(2**63), str(-(2**63) - 1), str(2**64), str(2**64 - 1), "1" + "0" * 20, "-" + digits(rng, 30), digits(rng, 38),
                       digits(rng, 39), digits(rng, 60)])


def fraction(rng):
    return rng.choice(
        [
            lambda: f"{rng.uniform(-1000, 1000):.{rng.randint(1, 6)}f}",
            lambda: repr(rng.uniform(-1, 1)),
            lambda: repr(rng.uniform(-1, 1) * 10 ** rng.randint(-30, 30)),
            lambda: rng.choice(["0.5", "-.5", ".25", "5.", "1.0", "-0.0", "-0", "0.1", "0.10", "1.50", "0.30000000000000004", "100.0"]),
        ]
    )()


def exponent(rng):
    return rng.choice(["1e5", "1E5", "1E+5", "1e-5", "1.23e-5", "1.E+3", "2.5e10", "-1e-10", "1e308", "1e22", "1e23", "4.9e-324",
                       "5e-324", "2.2250738585072014e-308", "1.7976931348623157e308", "0e-400", "0E0", "1e05", "1e+005"])


def beyond_floats(rng):
    return rng.choice(["1e400", "-1e400", "1e-400", "1e309", "1.8e308", "2e-324", "1.23456789012345e-310", "10.123456789012345678",
                       "0.10000000000000001", "0.1000000000000000055511151231257827", "0.12345678901234567890", "123456789.123456789123",
                       "9007199254740993.0", "1e99999", "3.00000000000000000000000000000001", digits(rng, 12) + "." + digits(rng, 12)])


def not_numbers(rng):
    return rng.choice(["NaN", "inf", "-inf"])


def money(rng):
    return f"{rng.choice(['', '-'])}{rng.randint(0, 10**rng.randint(1, 17))}.{rng.randint(0, 99):02}"


def date(rng):
    edge = rng.choice(["2024-02-29", "0001-01-01", "0000-02-29", "9999-12-31", "1969-12-31", "1970-01-01", "1582-10-10", "2000-02-29"])
    return edge if rng.random() < 0.3 else f"{rng.randint(1, 9998):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def moment(rng, finest=3):
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    if rng.random() < 0.85:
        clock += f":{rng.randint(0, 59):02}"
        if rng.random() < 0.6:
            count = rng.randint(1, 12)
            shown = "".join(rng.choice("0123456789") for _ in range(min(count, finest)))
            clock += "." + shown + "0" * (count - len(shown))
    day = date(rng)
    # A zone must not lead out of the years of the calendar.
    zones = ["", "Z", "z"] if day[:4] in ("0000", "9999", "0001") else ["", "Z", "Z", "+02:00", "-05:30", "+14:00", "-12:00", "+00:00", "-00:00"]
    return day + rng.choice("TTT t") + clock + rng.choice(zones)


def fine_moment(rng):
    return moment(rng, 12)


def words(rng):
    return rng.choice(WORDS)


def bools(rng):
    return rng.choice(["true", "false", "true", "false", "True", "FALSE"])


def plain(rng):
    return rng.choice(["x", "abc", "Berlin", "a b", "ok", "y1", "Zürich"]) + rng.choice(["", str(rng.randint(0, 99))])


def nasty(rng):
    if rng.random() < 0.7:
        return rng.choice(NASTY)
    return "".join(rng.choice(NASTY)[:6] for _ in range(rng.randint(1, 4)))


def picked(values):
    return lambda rng: rng.choice(values)


PURE = [small, whole, fraction, exponent, money, date, moment, bools, plain, nasty]
ODD = [huge, beyond_floats, not_numbers, fine_moment, words, picked(NULL_LIKES), picked(NEAR_NUMBERS), picked(OTHER_DATES),
       picked(OTHER_TIMES)]
NUMBERS = [small, whole, fraction, exponent, money, huge, beyond_floats, not_numbers, picked(NEAR_NUMBERS)]
MOMENTS = [date, moment, fine_moment, picked(OTHER_DATES), picked(OTHER_TIMES)]


def recipe(rng):
    """Makers of the values of one column."""
    return rng.choices(
        [
            lambda: [rng.choice(PURE)],
            lambda: [rng.choice(ODD)],
            lambda: rng.sample(NUMBERS, rng.randint(2, 3)),
            lambda: rng.sample(MOMENTS, 2),
            lambda: rng.sample(PURE + ODD, rng.randint(2, 4)),
            lambda: [],
        ],
        [40, 20, 20, 12, 12, 4],
    )[0]()


# --------------------------------------------------------------------------------------------------------------- tables


@dataclass
class Table:
    name: str
    content: bytes
    args: list = field(default_factory=list)
    # Columns as (name, type), a type of None where the page leaves it open.
    columns: list = None
    # Rows of values as they were written: None, or a kind of JSON (`csv` for a field) and a text.
    rows: list = None
    # Or what a refusal has to say: words, of which a tuple is a choice, and the first and last line it may name.
    refused: list = None
    lines: tuple = None
    about: str = ""

    def recorded(self):
        """What the tests of the command line keep of it; none if the page leaves a type open."""
        kept = {"name": self.name, "about": self.about, "args": self.args}
        try:
            kept["text"] = self.content.decode()
        except UnicodeDecodeError:
            kept["hex"] = self.content.hex()
        if self.refused is not None:
            words = [[words] if isinstance(words, str) else words for words in self.refused]
            return kept | {"refused": words, "lines": self.lines}
        types = [type for _, type in self.columns]
        if None in types:
            return None
        return kept | {"columns": self.columns, "rows": [[out(v, t) for v, t in zip(row, types)] for row in self.rows]}


def names(rng, count, json_names):
    """Names of columns that differ, some of them odd; those of CSV have no blanks around them."""
    odd = ["naïve", "a b", "a,b", 'q"q', "SELECT", "ID", "id", "Id", "1", "a.b", "x;y", "p|q", "é", "e\u0301", "שם", "😀", "a\nb", "-", "#",
           "column_9", "null", "true", "t\tt", "\u200b", "x" * 80, "_", "value", "__index_level_0__", "line\u2028x"]
    if json_names:
        odd += ["", " a", "a ", "\0", "\x1f", "\\", "/"]
    plain_names = [f"c{n}" for n in range(count)]
    if rng.random() < 0.6:
        return plain_names
    return [rng.choice(odd) + (str(n) if rng.random() < 0.5 else "") if rng.random() < 0.5 else name for n, name in enumerate(plain_names)]


def distinct(rng, count, json_names):
    while True:
        found = names(rng, count, json_names)
        if len(set(found)) == count:
            return found


def settle(table):
    """Types of the columns of a table that is taken."""
    options = {"decimal": "--decimal" in table.args, "cut_times": "--cut-times" in table.args}
    types = [type_of([row[at] for row in table.rows], **options) for at in range(len(table.columns))]
    table.columns = list(zip(table.columns, types))
    return table


def csv_table(rng, name):
    width = rng.choice([1, 1, 2, 2, 3, 4, 6, 9])
    height = rng.choice([1, 2, 3, 4, 6, 9, 14]) if rng.random() < 0.985 else 500
    separator = rng.choices([",", ";", "\t", "|"], [70, 12, 9, 9])[0]
    table = Table(name + (".tsv" if separator == "\t" and rng.random() < 0.5 else ".csv"), b"", about="csv")
    header = distinct(rng, width, False)
    recipes = [recipe(rng) for _ in range(width)]
    nulls = rng.choice([0, 0.1, 0.4])
    rows = []
    for _ in range(height):
        row = []
        for makers in recipes:
            if not makers or rng.random() < nulls:
                row.append(("csv", "") if rng.random() < 0.3 else None)
            else:
                row.append(("csv", rng.choice(makers)(rng)))
        rows.append(row)
    said = False
    if separator != ",":
        # Found by itself only where the header has one kind of separator.
        if width == 1 or any(set(",;\t|") & set(column) for column in header) or rng.random() < 0.3:
            said = not table.name.endswith(".tsv")
        if said:
            table.args += ["--separator", separator]
        table.about += f", {separator!r}"
    if rng.random() < 0.08:
        table.args.append("--decimal")
    if rng.random() < 0.06:
        table.args.append("--cut-times")
    every = rng.choice([0, 0, 0.2, 1])
    end = rng.choices(["\n", "\r\n", "\r", None], [60, 25, 8, 7])[0]
    table.about += f", {end!r}"
    pieces, starts = [], []

    def quoted(text):
        return '"' + text.replace('"', '""') + '"'

    def written(value):
        if value is None:
            return ""
        text = value[1]
        must = text == "" or any(c in text for c in "\r\n" + separator) or text.startswith('"')
        # A reader may find that other separators agree as well.
        must = must or (separator == "," and not said and any(c in text for c in ";|\t"))
        must = must or ('"' in text and rng.random() < 0.7) or (width == 1 and text.strip() == "")
        # A byte order mark at the start would be none of the text.
        return quoted(text) if must or rng.random() < every else text

    def add(fields):
        starts.append(len(pieces))
        pieces.append((separator.join(fields), end or rng.choice(["\n", "\r\n", "\r"])))

    unnamed = rng.random() < 0.06
    shown = [("" if unnamed and at == width - 1 and width > 1 else quoted(c) if set(c) & set('"\r\n,;|\t') or rng.random() < every else
              rng.choice(["", "", " "]) + c + rng.choice(["", "", "  "]) if rng.random() < 0.1 else c) for at, c in enumerate(header)]
    if shown[-1] == "" and width > 1:
        header[-1] = f"column_{width}"
        table.about += ", a name is missing"
        if len(set(header)) < width:
            header[0] = "first"
    add(shown)
    table.rows = []
    for row in rows:
        if rng.random() < 0.03:
            pieces.append(("", end or "\n"))
        add([written(value) for value in row])
        if not (width == 1 and row[0] is None):
            table.rows.append(row)
    table.columns = header
    if rng.random() < 0.25:
        disturb_csv(rng, table, pieces, starts, separator, quoted)
    elif not table.rows:
        table.refused, table.about = [("no rows", "empty")], "no rows"
    text = "".join(line + end for line, end in pieces)
    if table.refused is None and rng.random() < 0.15 and pieces[-1][0] != "":
        text = text[: -len(pieces[-1][1])]
        table.about += ", the last line has no end"
    if not table.content:
        table.content = text.encode("utf-8", "surrogateescape")
        if rng.random() < 0.1:
            table.content = b"\xef\xbb\xbf" + table.content
            table.about += ", BOM"
    return table if table.refused is not None else settle(table)


def disturb_csv(rng, table, pieces, starts, separator, quoted):
    """Makes a file of the pieces that is to be refused."""
    width, at = len(table.columns), rng.randrange(1, len(starts))

    def lines(piece):
        before = "".join(line + end for line, end in pieces[:piece])
        first = 1 + len(re.findall(r"\r\n|\r|\n", before))
        return (first, first + len(re.findall(r"\r\n|\r|\n", pieces[piece][0])))

    def ragged(piece):
        # Where nothing says what separates the columns, rows that do not agree show nothing.
        said = separator == "," or "--separator" in table.args or table.name.endswith(".tsv")
        return (["field(s)"], lines(piece)) if said else ([("field(s)", "--separator")], None)

    def change(piece, line):
        pieces[piece] = (line, pieces[piece][1])

    piece = starts[at]
    line = pieces[piece][0]
    how = rng.choice(["short", "long", "open", "bytes", "latin-1", "utf-16", "utf-16 without mark", "gz", "twice", "reserved", "header only",
                      "html", "zip", "op"])
    plain_text = "".join(line + end for line, end in pieces)
    table.about += f", {how}"
    if how == "short" and width > 1:
        change(piece, "x")
        table.refused, table.lines = ragged(piece)
    elif how == "long":
        change(piece, line + separator + "x")
        table.refused, table.lines = ragged(piece)
    elif how == "open":
        del pieces[piece + 1 :]
        change(piece, separator.join(["1"] * (width - 1) + ['"x']))
        table.refused, table.lines = ["quoted value is not closed"], (lines(piece)[0], lines(piece)[1] + 1)
    elif how in ("bytes", "latin-1"):
        wrong = rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf"]) if how == "bytes" else "é".encode("latin-1")
        change(piece, separator.join(["1"] * (width - 1) + ["a" + wrong.decode("utf-8", "surrogateescape") + "b"]))
        table.refused, table.lines = ["not UTF-8"], lines(piece)
    elif how == "utf-16":
        table.content = plain_text.encode("utf-16") if rng.random() < 0.5 else b"\xfe\xff" + plain_text.encode("utf-16-be")
        table.refused = ["UTF-16"]
    elif how == "utf-16 without mark" and table.columns[0].isascii():
        table.content = plain_text.encode(rng.choice(["utf-16-le", "utf-16-be"]))
        table.refused = ["UTF-16"]
    elif how == "gz":
        table.content = gzip.compress(plain_text.encode(), mtime=0)
        table.refused = ["gzip"]
    elif how == "zip":
        table.content = b"PK\x03\x04" + plain_text.encode()
        table.refused = ["zip"]
    elif how == "html":
        table.content = rng.choice([b"<!DOCTYPE html>\n<html><body>503</body></html>", b"<html>\n", b"\xef\xbb\xbf<!doctype HTML>\n<p>"])
        table.refused = ["HTML"]
    elif how == "twice" and width > 1:
        column = table.columns[0]
        change(0, separator.join([quoted(column)] * 2 + [quoted(c) for c in table.columns[2:]]))
        table.refused = ["appears twice"]
    elif how in ("reserved", "op") and width > 1:
        column = rng.choice(["offset", "op", "system_time"])
        change(0, separator.join([column] + [quoted(c) for c in table.columns[1:]]))
        table.refused = [column, ("reserved", "changelog")]
    elif how == "header only":
        del pieces[1:]
        table.refused = [("no rows", "empty")]


# ----------------------------------------------------------------------------------------------------------------- JSON


def json_string(rng, text):
    """A string, some of its characters escaped."""
    if rng.random() < 0.6:
        return json.dumps(text, ensure_ascii=rng.random() < 0.5)
    escape = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "/": "\\/"}
    parts = []
    for c in text:
        if c < " " or c in '"\\':
            parts.append(escape.get(c, f"\\u{ord(c):04x}"))
        elif rng.random() < 0.2:
            units = c.encode("utf-16-be")
            parts.append("".join(f"\\u{units[n]:02X}{units[n + 1]:02x}" for n in range(0, len(units), 2)))
        else:
            parts.append("\\/" if c == "/" else c)
    return '"' + "".join(parts) + '"'


def nested(rng, depth=0):
    """JSON with blanks, and its one form: keys sorted, no blanks, scalars as they were written."""
    blank = lambda: rng.choice(["", "", " "])
    kind = rng.choice(["array", "object"]) if depth == 0 else rng.choice(["array", "object", "scalar", "scalar", "scalar"]) if depth < 3 else "scalar"
    if kind == "scalar":
        raw = rng.choice([
            lambda: rng.choice(["null", "true", "false", "[]", "{}"]),
            lambda: json_string(rng, nasty(rng)),
            lambda: json_number(rng, rng.choice([whole, fraction, exponent, huge, beyond_floats])),
        ])()
        return raw, raw
    if kind == "array":
        items = [nested(rng, depth + 1) for _ in range(rng.randint(0, 4))]
        return "[" + blank() + ("," + blank()).join(raw for raw, _ in items) + blank() + "]", "[" + ",".join(one for _, one in items) + "]"
    keys = list(dict.fromkeys(rng.choice(["a", "b", "Z", "é", "", "a b", "\"", "😀", "\uffff", "\n"]) for _ in range(rng.randint(0, 4))))
    members = [(key, *nested(rng, depth + 1)) for key in keys]
    raw = "{" + blank() + ("," + blank()).join(json_string(rng, key) + ":" + blank() + raw for key, raw, _ in members) + "}"
    # Keys are sorted by their bytes and escaped only where JSON has to.
    one = ",".join(json.dumps(key, ensure_ascii=False) + ":" + one for key, _, one in sorted(members, key=lambda m: m[0].encode()))
    return raw, "{" + one + "}"


def json_number(rng, maker):
    """A number as JSON allows it."""
    while True:
        text = maker(rng)
        if re.match(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z", text):
            return text


def json_value(rng, maker):
    """What is written, and the value."""
    if maker in (small, whole, fraction, exponent, money, huge, beyond_floats) and rng.random() < 0.9:
        text = json_number(rng, maker)
        return text, ("number", text)
    if maker in (bools, words) and rng.random() < 0.8:
        text = rng.choice(["true", "false"])
        return text, ("bool", text)
    if maker is nested:
        raw, one = nested(rng)
        return raw, ("json", one)
    text = maker(rng) if rng.random() < 0.97 else ""
    return json_string(rng, text), ("string", text)


def json_table(rng, name):
    document = rng.random() < 0.35
    table = Table(name + (".json" if document else rng.choice([".ndjson", ".ndjson", ".jsonl"])), b"")
    table.about = "json" if document else "ndjson"
    width = rng.choice([1, 2, 3, 4, 6])
    height = rng.choice([1, 2, 3, 4, 6, 9]) if rng.random() < 0.985 else 500
    header = distinct(rng, width, True)
    recipes = [recipe(rng) + ([nested] if rng.random() < 0.15 else []) for _ in range(width)]
    absent, nulls = rng.choice([0, 0, 0.3]), rng.choice([0, 0.1, 0.5])
    blank = lambda: rng.choice(["", "", "", " ", "  "])
    order, rows, texts = [], [], []
    for _ in range(height):
        row, members = {}, []
        columns = header if rng.random() < 0.7 else rng.sample(header, width)
        for column in columns:
            makers = recipes[header.index(column)]
            if rng.random() < absent:
                continue
            raw, value = ("null", None) if not makers or rng.random() < nulls else json_value(rng, rng.choice(makers))
            members.append((column, raw))
            row[column] = value
            if column not in order:
                order.append(column)
        rows.append(row)
        break_line = "\n" if document and rng.random() < 0.2 else ""
        texts.append("{" + blank() + ("," + blank() + break_line).join(
            json_string(rng, key) + blank() + ":" + blank() + raw for key, raw in members) + blank() + "}")
    if not order:
        rows[0][header[0]], texts[0] = ("number", "1"), "{" + json_string(rng, header[0]) + ":1}"
        order = [header[0]]
    table.columns, table.rows = order, [[row.get(column) for column in order] for row in rows]
    if rng.random() < 0.08:
        table.args.append("--decimal")
    if rng.random() < 0.06:
        table.args.append("--cut-times")
    at = rng.randrange(height)
    if rng.random() < 0.25:
        disturb_json(rng, table, texts, at, order[0])
    if document:
        wrapped = rng.random() < 0.3
        begin, finish = ('{"n": 1, "rows": ', "}") if wrapped else ("", "")
        begin, between = begin + "[", rng.choice([",", ",\n", " ,\r\n\n"])
        text = begin + between.join(texts) + "]" + finish
        if table.refused == ["ends"]:
            text = begin + between.join(texts)
        if table.lines:
            before = begin + between.join(texts[:at]) + (between if at else "")
            first = 1 + before.count("\n")
            table.lines = (first, first + texts[at].count("\n") + 1)
    else:
        end = rng.choice(["\n", "\n", "\r\n"])
        text = end.join(texts) + rng.choice([end, end, "", end + end])
        if table.refused == ["ends"]:
            table.refused, table.lines = [], (height, height + 1)
            text = text.rstrip()[:-1]
    table.content = text.encode("utf-8", "surrogateescape")
    if table.refused is None and rng.random() < 0.08:
        table.content = b"\xef\xbb\xbf" + table.content
        table.about += ", BOM"
    if table.refused == ["UTF-16"]:
        table.content = text.encode("utf-16") if rng.random() < 0.5 else b"\xfe\xff" + text.encode("utf-16-be")
    return table if table.refused is not None else settle(table)


def disturb_json(rng, table, texts, at, column):
    """Makes a row that is to be refused."""
    wrong = {
        "twice": ('{"k":1,"k":2}', ["appears twice"]),
        "twice by escape": ('{"k":1,"\\u006b":2}', ["appears twice"]),
        "twice inside": ('{"k":{"x":1,"x":2}}', ["twice"]),
        "twice inside by escape": ('{"k":[{"x":1},{"x":1,"y":2,"\\u0078":1}]}', ["twice"]),
        "surrogate": ('{"k":"\\ud800"}', []),
        "surrogate before": ('{"k":"\\ud800x"}', []),
        "low surrogate": ('{"k":"\\udc00\\ud800"}', []),
        "surrogate in a name": ('{"\\ud800":1}', []),
        "control": ('{"k":"a\x01b"}', []),
        "nan": ('{"k":NaN}', []),
        "infinity": ('{"k":-Infinity}', []),
        "no value": ('{"k":}', []),
        "comma": ('{"k":1,}', []),
        "single quotes": ("{'k':1}", []),
        "leading zero": ('{"k":007}', []),
        "plus": ('{"k":+1}', []),
        "point": ('{"k":1.}', []),
        "escape": ('{"k":"\\x41"}', []),
        "word": ('{"k":True}', []),
        "number": ("1", []),
        "string": ('"x"', []),
        "null": ("null", []),
        "bytes": (b'{"k":"a\xff"}'.decode("utf-8", "surrogateescape"), ["not UTF-8"]),
        "surrogate in bytes": (b'{"k":"\xed\xa0\x80"}'.decode("utf-8", "surrogateescape"), ["not UTF-8"]),
        "deep": ('{"k":' + "[" * 70 + "]" * 70 + "}", []),
        "reserved": ('{"offset":1}', ["offset"]),
        "two values": ('{"k":1} {"k":2}', []),
        "comment": ('{"k":1/*x*/}', []),
    }
    how = rng.choice([*wrong, "utf-16", "ends"])
    table.about += f", {how}"
    if how in wrong:
        texts[at], table.refused = wrong[how]
        # An array in a document that does not begin with an object is not rows, which is known at the end of the document.
        no_rows = table.about.startswith("json") and at == 0 and how in ("number", "string", "null")
        table.lines = (at + 1, at + 1) if how != "reserved" and not no_rows else None
    elif how == "utf-16":
        table.refused = ["UTF-16"]
    else:
        table.refused = ["ends"]


def table(seed, number):
    rng = random.Random(f"{seed} {number}")
    make = csv_table if rng.random() < 0.6 else json_table
    return make(rng, f"t{number:04}")


def main():
    """Writes what `cli/tests/values.ndjson` keeps."""
    parser = argparse.ArgumentParser(description="Writes small tables and what has to come of them, one a line.")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--tables", type=int, default=400)
    parser.add_argument("--longest", type=int, default=500, help="bytes of a file")
    args = parser.parse_args()
    kept = number = 0
    while kept < args.tables:
        made = table(args.seed, number)
        number += 1
        recorded = made.recorded()
        if recorded and len(made.content) <= args.longest:
            sys.stdout.write(json.dumps(recorded, separators=(",", ":")) + "\n")
            kept += 1


if __name__ == "__main__":
    main()
