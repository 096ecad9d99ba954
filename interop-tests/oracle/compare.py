"""Publishes made-up tables, pulls them into a second workspace, exports them from there, and compares every value with
what was written and with what DuckDB and pandas read of the same file. README.md says how to run it."""

import argparse
import collections
import concurrent.futures
import datetime
import decimal
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import tables
from reading import INTEGER, LEADING_ZERO, NAN, NUMBER, days, float_keeps, millis, nanos

SEALED = 'network.bootstrap=[];network.listen=["/ip4/127.0.0.1/tcp/0"];network.mdns=false;gateway.listen=127.0.0.1:0'
AT_ONCE = 4
# Tables that are published before they are pulled in one command.
BATCH = 100


class Workspace:
    def __init__(self, odfs, path):
        self.odfs, self.path = odfs, path
        path.mkdir()

    def start(self, *args, **streams):
        env = {"HOME": str(self.path), "ODFS_PATH": str(self.path / "workspace"), "ODFS_CONFIG": SEALED}
        return subprocess.Popen([self.odfs, *args], env=env, cwd=self.path, stdin=subprocess.DEVNULL, text=True, errors="replace", **streams)

    def run(self, *args):
        done = self.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = done.communicate(timeout=600)
        return done.returncode, out, err


# ------------------------------------------------------------------------------------------------------------- meanings


def alike(one, other):
    """Whether JSON, numbers as decimals, means the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        # A struct of DuckDB has a member for every key that any row has.
        return all(alike(one.get(key), other.get(key)) for key in {*one, *other})
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, decimal.Decimal) and isinstance(other, (int, float, decimal.Decimal)) and not isinstance(other, bool):
        return same(("number", str(one)), other)
    return type(one) is type(other) and one == other


def same(written, value):
    """Whether a value that was read means what was written: the number, the instant or the text."""
    if written is None or value is None:
        return written is None and value is None
    kind, text = written
    if kind == "json":
        if value == text:
            return True
        exact = json.loads(text, parse_int=decimal.Decimal, parse_float=decimal.Decimal)
        if isinstance(value, str):
            try:
                value = json.loads(value, parse_int=decimal.Decimal, parse_float=decimal.Decimal)
            except ValueError:
                return False
        return alike(exact, value)
    if isinstance(value, str):
        return value == text
    if kind == "csv" and text == "":
        return False
    if isinstance(value, bool):
        return kind in ("csv", "bool") and text.lower() == str(value).lower()
    if isinstance(value, Days):
        return days(text) == value.count
    if isinstance(value, Millis):
        return millis(text) == value.count
    if isinstance(value, datetime.datetime):
        shown = value.isoformat()
        return nanos(shown) == nanos(text) if nanos(text) else millis(text) is not None and nanos(shown) == (millis(text) * 10**6, False)
    if isinstance(value, datetime.date):
        return days(text) is not None and days(text) == days(value.isoformat())
    if kind not in ("csv", "number"):
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return text == ("NaN" if math.isnan(value) else str(value))
    if LEADING_ZERO.match(text) or not NUMBER.match(text):
        return False
    if isinstance(value, float):
        return int(text) == int(value) if INTEGER.match(text) else float(text) == value and float_keeps(text)
    return isinstance(value, (int, decimal.Decimal)) and decimal.Decimal(text) == value


class Days(collections.namedtuple("Days", "count")):
    """A date as odfs stores it."""


class Millis(collections.namedtuple("Millis", "count")):
    """A time as odfs stores it."""


# Why another reader has something else than what was written: the first rule that holds names it.
RULES = [
    ("quotes around nothing are an empty text", lambda kind, text, value: text == "" and value is None),
    ("words for null are text", lambda kind, text, value: value is None and text in [*tables.NULL_LIKES, "NaN", "-NaN"]),
    ("text stays text: a column of nothing else is not made of numbers", lambda kind, text, value: kind == "string" and not isinstance(value, (str, datetime.date)) and value is not None),
    ("leading zeros are text", lambda kind, text, value: number(value) and LEADING_ZERO.match(text.strip().lstrip("+"))),
    ("blanks stay", lambda kind, text, value: text.strip() != text and (same((kind, text.strip()), value) or value == text.strip())),
    ("only digits are numbers", lambda kind, text, value: number(value) and not NUMBER.match(text) and text not in NAN),
    ("no digit is lost", lambda kind, text, value: number(value) and NUMBER.match(text) and near(text, value)),
    ("no number becomes infinite, null or zero", lambda kind, text, value: NUMBER.match(text) and not INTEGER.match(text) and (value in (None, 0) or number(value) and math.isinf(value))),
    ("NaN is a number", lambda kind, text, value: text in NAN and value is None),
    ("a number that is mixed with text is as written", lambda kind, text, value: kind == "number" and isinstance(value, str) and NUMBER.match(value) and near(text, decimal.Decimal(value))),
    ("only true and false are booleans", lambda kind, text, value: isinstance(value, bool) and text.lower() not in ("true", "false")),
    ("booleans that are mixed with others are as written", lambda kind, text, value: text.lower() in ("true", "false") and str(value).lower() in ("true", "false", "1", "0", "1.0", "0.0")),
    ("only ISO dates are dates", lambda kind, text, value: isinstance(value, (datetime.date, datetime.time)) and days(text) is None and nanos(text) is None),
    ("no digit of a time is lost", lambda kind, text, value: isinstance(value, datetime.date) and nanos(text) is not None and (nanos(text)[1] or nanos(text)[0] % 1000) ),
    ("times without a zone are in UTC, others too", lambda kind, text, value: isinstance(value, datetime.date) and nanos(text) is not None),
    ("JSON within values keeps its digits and members", lambda kind, text, value: kind == "json"),
    ("dates of any calendar year stay", lambda kind, text, value: value is None and (days(text) is not None or nanos(text) is not None)),
    ("the year 0 is a year", lambda kind, text, value: text.startswith("0000-") and "(BC)" in str(value)),
    ("what is no ISO date is no year before Christ", lambda kind, text, value: text.startswith("-") and "(BC)" in str(value)),
    ("text comes out as it is", lambda kind, text, value: isinstance(value, str) and any(c in text for c in "\0\r\n\ufeff\x1a\\\"") ),
    ("what is mixed with others is as written", lambda kind, text, value: isinstance(value, str) and kind in ("number", "bool")),
]


def number(value):
    return isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool)


def near(text, value):
    """A number that lost digits, or that was not rounded to the nearest float."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    exact, value = decimal.Decimal(text), decimal.Decimal(value)
    return abs(exact - value) <= abs(exact) * decimal.Decimal("1e-9") + decimal.Decimal("1e-300")


def why(written, value):
    """The rule by which another reader's value differs, or none."""
    if written is None:
        return None
    return next((name for name, holds in RULES if holds(*written, value)), None)


# -------------------------------------------------------------------------------------------------------------- readers


def read_odfs(directory):
    """Columns and rows of an exported dataset."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    slices = [parquet.read_table(path) for path in sorted((directory / "data").iterdir())]
    slices.sort(key=lambda table: table["offset"][0].as_py())
    columns, rows = None, []
    for table in slices:
        kept = [at for at, name in enumerate(table.column_names) if at >= 4]
        columns = [(table.column_names[at], odfs_type(table.schema.field(at).type)) for at in kept]
        values = []
        for at in kept:
            column, kind = table.column(at), table.schema.field(at).type
            wrap = Millis if pa.types.is_timestamp(kind) else Days if pa.types.is_date(kind) else None
            if wrap:
                column = column.cast(pa.int64() if wrap is Millis else pa.int32())
            values.append([wrap(v) if wrap and v is not None else v for v in column.to_pylist()])
        rows += map(list, zip(*values))
    return columns, rows


def odfs_type(kind):
    shown = {"string": "String", "int64": "Int64", "double": "Float64", "bool": "Bool", "date32[day]": "Date", "timestamp[ms, tz=UTC]": "Timestamp"}
    decimals = re.match(r"decimal128\((\d+), (\d+)\)", str(kind))
    return f"Decimal({decimals[1]}, {decimals[2]})" if decimals else shown.get(str(kind), str(kind))


def read_duckdb(path, is_csv):
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        reader = "read_csv" if is_csv else "read_json"
        found = connection.execute(f"SELECT * FROM {reader}(?)", [str(path)])
        exact = lambda text: json.loads(text, parse_int=decimal.Decimal, parse_float=decimal.Decimal)
        is_json = [str(column[1]) == "JSON" for column in found.description]
        rows = [[exact(v) if j and v is not None else v for v, j in zip(row, is_json)] for row in found.fetchall()]
        return [column[0] for column in found.description], rows


def read_pandas(path, is_csv):
    import pandas

    if is_csv:
        frame = pandas.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    else:
        frame = pandas.read_json(path, lines=path.suffix != ".json")

    def plain(value):
        if value is None or value is pandas.NA or value is pandas.NaT or isinstance(value, float) and math.isnan(value):
            return None
        value = value.item() if hasattr(value, "item") else value
        return value.to_pydatetime(warn=False) if isinstance(value, pandas.Timestamp) else value

    return [str(name) for name in frame.columns], [[plain(v) for v in row] for row in frame.astype(object).itertuples(index=False)]


# ----------------------------------------------------------------------------------------------------------- comparison


class Report:
    def __init__(self):
        self.counts, self.findings, self.kinds = collections.Counter(), [], set()

    def find(self, table, what):
        # The first of a kind tells enough of a table.
        kind = (table.name, re.sub(r"row [0-9]+.*", "", what)[:20])
        if kind in self.kinds:
            return
        self.kinds.add(kind)
        self.findings.append(f"{table.name} ({table.about}) {' '.join(table.args)}: {what}")
        print(self.findings[-1], file=sys.stderr, flush=True)

    def refusal(self, table, code, err):
        self.counts["refused"] += 1
        shown = err.strip().replace("\n", " / ")[:400]
        if "panicked" in err or code not in (2, 4, 5, 6, 7) or "Next:" not in err:
            self.find(table, f"exit {code} without a next step: {shown}")
        if table.refused is None:
            return self.find(table, f"refused: {shown}")
        for words in table.refused:
            if not any(word in err for word in ((words,) if isinstance(words, str) else words)):
                self.find(table, f"refused without {words!r}: {shown}")
        if table.lines:
            line = re.search(r", line (\d+)", err)
            if not line or not table.lines[0] <= int(line[1]) <= table.lines[1]:
                self.find(table, f"refused without a line of {table.lines}: {shown}")

    def taken(self, table, columns, rows):
        """Compares what came out of odfs with what was written."""
        self.counts["taken"] += 1
        if table.refused is not None:
            return self.find(table, f"taken, but should be refused ({table.refused}): {columns} {rows[:3]!r}"[:600])
        if [name for name, _ in columns] != [name for name, _ in table.columns] or len(rows) != len(table.rows):
            return self.find(table, f"other columns or rows: {columns} {len(rows)} for {table.columns} {len(table.rows)}"[:600])
        for at, (name, wanted) in enumerate(table.columns):
            type = columns[at][1]
            if wanted is not None and wanted != type:
                values = [row[at][1] for row in table.rows if row[at]]
                self.find(table, f"{name!r} is {type}, not {wanted}: {values!r}"[:600])
        for number, (row, wanted) in enumerate(zip(rows, table.rows)):
            for at, (value, written) in enumerate(zip(row, wanted)):
                self.counts["values"] += 1
                type = columns[at][1]
                if written == ("csv", "") and type != "String":
                    written = None
                ok = same(written, value)
                if not ok and "--cut-times" in table.args and isinstance(value, Millis):
                    ok = nanos(written[1]) is not None and nanos(written[1])[0] // 10**6 == value.count
                if not ok and written and isinstance(value, Millis) and type == "Timestamp":
                    ok = millis(re.sub(" ?(UTC|GMT)$", "Z", written[1])) == value.count
                if not ok:
                    self.find(table, f"row {number + 1}, {columns[at]}: {value!r} for {written!r}"[:400])

    def beside(self, table, engine, path):
        """Compares what another reader makes of the file with what was written."""
        count = lambda what: self.counts.update([f"{engine}: {what}"])
        is_csv = path.suffix in (".csv", ".tsv")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                names, rows = {"duckdb": read_duckdb, "pandas": read_pandas}[engine](path, is_csv)
        except BaseException as error:  # pandas and DuckDB have no common base of their errors.
            if isinstance(error, KeyboardInterrupt):
                raise
            return count("file refused" + (" that odfs refuses too" if table.refused is not None else ""))
        if table.refused is not None:
            return count("file read that odfs refuses")
        wanted = [name for name, _ in table.columns]
        if len(names) != len(wanted) and not is_csv and set(names) >= set(wanted):
            count("file with more columns")
        if engine == "pandas" and is_csv and b"\n" not in table.content:
            # Behind an empty line its parser passes over a first value that is empty, with the separator.
            return count("file read whose lines end with CR alone, of which columns are shifted")
        if table.content.startswith(b'{"n": 1, "rows": '):
            return count("file read as one row, without looking for the member that has the rows")
        if len(rows) != len(table.rows) or len(names) != len(wanted):
            return count(f"file with other {'rows' if len(rows) != len(table.rows) else 'columns'} ({'CSV' if is_csv else 'JSON'})")
        if not is_csv and names != wanted and set(names) == set(wanted):
            rows = [[row[names.index(name)] for name in wanted] for row in rows]
        for number, (row, truth) in enumerate(zip(rows, table.rows)):
            for at, (value, written) in enumerate(zip(row, truth)):
                if same(written, value):
                    count("values equal")
                    continue
                rule = why(written, value)
                # pandas, in columns of integers that are too long for it and other text.
                if written is None and value == "":
                    rule = "nothing is null, whatever else is in the column"
                count(f"value differs: {rule}" if rule else "value differs, unexplained")
                if rule is None:
                    self.find(table, f"{engine} has {value!r} for {written!r}, and no rule says why (row {number + 1}, {wanted[at]!r})"[:400])


def compare(made, here, there, url, report):
    """Sends tables, by the names of their datasets, from one workspace to the other, and reports on them."""
    for table in made.values():
        (here.path / table.name).write_bytes(table.content)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
        publish = lambda name: here.run("publish", made[name].name, "--name", name, *made[name].args)
        published = dict(zip(made, threads.map(publish, made)))
        taken = [name for name in made if published[name][0] == 0]
        code, _, err = there.run("pull", *[url + name for name in taken]) if taken else (0, "", "")
        if code != 0:
            sys.exit(f"pull failed: {err}")
        exports = threads.map(lambda name: there.run("export", name, str(there.path / f"out-{name}")), taken)
        exported = dict(zip(taken, exports))
    for name, table in made.items():
        code, _, err = published[name]
        if code != 0:
            report.refusal(table, code, err)
        elif exported[name][0] != 0:
            report.find(table, f"export failed: {exported[name][2]}")
        else:
            report.taken(table, *read_odfs(there.path / f"out-{name}"))
        for engine in ("duckdb", "pandas"):
            report.beside(table, engine, here.path / table.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--odfs", default="odfs", help="the binary")
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first table, for one that was reported")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    odfs = os.path.abspath(args.odfs) if os.sep in args.odfs else args.odfs
    report = Report()
    with tempfile.TemporaryDirectory() as root:
        here, there = Workspace(odfs, pathlib.Path(root) / "here"), Workspace(odfs, pathlib.Path(root) / "there")
        node = here.start("node", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            url = next(found[1] for line in node.stdout if (found := re.match(r"Repository: (\S+)", line)))
            for start in range(args.first, args.first + args.tables, BATCH):
                numbers = range(start, min(start + BATCH, args.first + args.tables))
                compare({f"d{number}": tables.table(args.seed, number) for number in numbers}, here, there, url, report)
                print(f"{numbers.stop - args.first} file(s), {len(report.findings)} finding(s)", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("interrupted; what was compared until then:")
        finally:
            node.terminate()
            node.wait()
    for what, count in sorted(report.counts.items()):
        print(f"{count:8}  {what}")
    print(f"{len(report.findings)} finding(s)")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
