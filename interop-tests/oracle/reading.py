"""What `docs/reading.md` says comes of the values of a table, as rules. Nothing here was learnt from odfs."""

import datetime
import re
import zoneinfo
from decimal import ROUND_HALF_EVEN, Context, Decimal

INTEGER = re.compile(r"-?(0|[1-9][0-9]*)\Z")
NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
LEADING_ZERO = re.compile(r"-?0[0-9]")
DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})\Z")
TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]+))?)?"
    r"(?:([Zz])| ?([+-])([0-9]{2}):?([0-9]{2})?)?\Z"
)
# Times in zones with names and times without colons, of which the page says nothing: they may be times or text, as long as
# nothing changes.
UNSETTLED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(.*[A-Za-z]{3,}|T[0-9]{6}.*)\Z")
NAN = {"NaN", "inf", "-inf"}


def days(text):
    """Days since 1970 of YYYY-MM-DD, from the year 0 on; None if no calendar has it."""
    match = DATE.match(text)
    if not match:
        return None
    year, month, day = map(int, match.groups())
    try:
        # Python's calendar begins with the year 1, and repeats after 400 years.
        return datetime.date(year + 400, month, day).toordinal() - 719_163 - 146_097
    except ValueError:
        try:
            return datetime.date(year, month, day).toordinal() - 719_163
        except ValueError:
            return None


def nanos(text):
    """Nanoseconds since 1970 of a time as RFC 3339 has it, without a zone in UTC, and whether there are finer digits."""
    match = TIME.match(text)
    if not match or days(match[1]) is None:
        return None
    hour, minute, second = int(match[2]), int(match[3]), int(match[4] or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    fraction = match[5] or ""
    offset = 0
    if match[7]:
        hours, minutes = int(match[8]), int(match[9] or 0)
        if hours > 23 or minutes > 59:
            return None
        offset = (hours * 60 + minutes) * 60 * (1 if match[7] == "+" else -1)
    seconds = days(match[1]) * 86_400 + (hour * 60 + minute) * 60 + second - offset
    return seconds * 10**9 + int((fraction + "0" * 9)[:9]), fraction[9:].strip("0") != ""


def in_named_zone(text):
    """As `nanos`, of a time with the name of a time zone behind it; None also where the zone's clocks showed it never or twice."""
    local, _, zone = text.rpartition(" ")
    if "/" not in zone or nanos(local) is None or TIME.match(local)[6]:
        return None
    count, finer = nanos(local)
    try:
        shown = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=count // 10**9)
        offsets = {shown.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold).utcoffset() for fold in (0, 1)}
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OverflowError):
        return None
    return None if len(offsets) > 1 else (count - int(offsets.pop().total_seconds()) * 10**9, finer)


def millis(text):
    """Milliseconds since 1970 of a date or a time; None if it is neither, or has finer digits."""
    if days(text) is not None:
        return days(text) * 86_400_000
    found = nanos(text) or in_named_zone(text)
    return None if found is None or found[1] or found[0] % 10**6 else found[0] // 10**6


def utc(count):
    """A count of milliseconds as RFC 3339, with milliseconds only if there are any."""
    day, rest = divmod(count, 86_400_000)
    # Python's calendar has no year 0; it repeats after 400 years.
    shift = 400 if day < 0 else 0
    date = datetime.date.fromordinal(day + 719_163 + shift // 400 * 146_097)
    clock = f"{rest // 3_600_000:02}:{rest // 60_000 % 60:02}:{rest // 1000 % 60:02}"
    tail = f".{rest % 1000:03}" if rest % 1000 else ""
    return f"{date.year - shift:04}-{date.month:02}-{date.day:02}T{clock}{tail}Z"


def float_keeps(text):
    """Whether the float of a number, written with as many digits, is what was written."""
    written, near = Decimal(text), float(text)
    if written == 0 or near in (float("inf"), float("-inf")):
        return written == 0
    whole, _, fraction = re.sub(r"[eE].*|-", "", text).partition(".")
    digits = len((whole + fraction.rstrip("0")).lstrip("0"))
    return Context(prec=max(digits, 1), rounding=ROUND_HALF_EVEN, Emin=-9999, Emax=9999).plus(Decimal(near)) == written


def kinds_of_number(text):
    """What a number asks of its column; None if it is no number as the page has it."""
    if text in NAN:
        return {"float", "odd"}
    if not NUMBER.match(text) or LEADING_ZERO.match(text):
        return None
    odd = {"odd"} if "e" in text.lower() or text == "-0" else set()
    if INTEGER.match(text) and text != "-0":
        value = int(text)
        if not -(2**63) <= value < 2**63:
            return {"long"}
        return {"int"} if int(float(value)) == value else {"int", "big"}
    return {"float" if float_keeps(text) else "long"} | odd


def kinds_of_moment(text):
    if days(text) is not None:
        return {"date"}
    if UNSETTLED.match(text):
        return {"unsettled"}
    found = nanos(text)
    if found is None:
        return {"text"}
    return {"fine"} if found[1] or found[0] % 10**6 else {"time"}


def kinds(value):
    """What a value asks of its column: `value` is a kind of JSON and a text, with `csv` for a field."""
    kind, text = value
    if kind == "csv":
        if text == "":
            return set()
        if text.lower() in ("true", "false"):
            return {"bool"}
        return kinds_of_number(text) or kinds_of_moment(text)
    if kind == "number":
        return kinds_of_number(text) or {"text"}
    return {"string": lambda: kinds_of_moment(text), "bool": lambda: {"bool"}}.get(kind, lambda: {"text"})()


def type_of(values, decimal=False, cut_times=False):
    """The type of a column of these values; None if the page leaves it open."""
    seen = set().union(*(kinds(value) for value in values if value is not None))
    if "unsettled" in seen:
        return None
    if not seen or "text" in seen:
        return "String"
    if seen <= {"bool"}:
        return "Bool"
    if seen <= {"int", "big"}:
        return "Int64"
    if seen <= {"int", "big", "float", "long", "odd"}:
        if decimal and "odd" not in seen:
            parts = [text.lstrip("-").partition(".") for _, text in filter(None, values) if text != ""]
            whole = max(len(part[0]) for part in parts)
            scale = max(len(part[2]) for part in parts)
            if max(whole + scale, 1) <= 38:
                return f"Decimal({max(whole + scale, 1)}, {scale})"
        return "String" if seen & {"big", "long"} else "Float64"
    if seen <= {"date"}:
        return "Date"
    if seen <= {"date", "time"} or (cut_times and seen <= {"date", "time", "fine"}):
        return "Timestamp"
    return "String"


def out(value, type):
    """A value as it comes out of a column of this type."""
    if value is None or (value == ("csv", "") and type != "String"):
        return None
    text = value[1]
    if type == "Float64":
        return "NaN" if text == "NaN" else repr(float(text))
    if type.startswith("Decimal"):
        scale = int(type[:-1].split(",")[1])
        shown = format(Decimal(text).quantize(Decimal(1).scaleb(-scale), context=Context(prec=60)), "f")
        # Decimals have no negative zero.
        return shown if shown.strip("-0.") else shown.lstrip("-")
    if type == "Timestamp":
        return utc(millis(text) if millis(text) is not None else nanos(text)[0] // 10**6)
    return text.lower() if type == "Bool" else text
