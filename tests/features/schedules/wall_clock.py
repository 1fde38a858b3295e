"""An oracle for schedules: walk through real time minute by minute, look at the clock on the wall, and ask whether it fires.

It shares nothing with the engine: no search, no arithmetic on offsets, no library for cron or RRULE, only zoneinfo and dates.
"""

import calendar
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
WARM_UP = timedelta(days=3)
NAMES = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@lru_cache(maxsize=40)
def walk(zone, begin, end):
    """Return (instant, wall time) of every minute from some days before `begin` until `end`."""
    info = ZoneInfo(zone)
    found, now = [], begin - WARM_UP
    while now <= end:
        found.append((now, now.astimezone(info).replace(tzinfo=None, fold=0)))
        now += MINUTE
    return found


def slots(zone, begin, end, fires, *, elapsed):
    """Return the instants in (begin, end] at which something fires whose wall times `fires` knows.

    On elapsed time: whenever the clock reads such a time. Otherwise: whenever the clock first gets to, or leaps over, one.
    """
    found, top = [], None
    for now, wall in walk(zone, begin, end):
        if elapsed:
            due = fires(wall)
        else:
            due, next_wall = False, wall if top is None else top + MINUTE
            while next_wall <= wall:
                due = due or fires(next_wall)
                next_wall += MINUTE
            top = wall if top is None else max(top, wall)
        if due and now > begin:
            found.append(now)
    return found


# -- cron ------------------------------------------------------------------------------------------------------------------


def cron(expression):
    """Return (fires, elapsed) of a cron expression."""
    minute, hour, day, month, weekday = expression.upper().split()
    both = day.startswith("*") or weekday.startswith("*")

    @cache
    def on_date(date):
        if not any(_in(term, date.month, 1, 12, NAMES, 1) for term in month.split(",")):
            return False
        by_date = any(_is_date(term, date) for term in day.split(","))
        by_weekday = any(_is_weekday(term, date) for term in weekday.split(","))
        return by_date and by_weekday if both else by_date or by_weekday

    @cache
    def at_time(h, m):
        return any(_in(term, h, 0, 23) for term in hour.split(",")) and any(
            _in(term, m, 0, 59) for term in minute.split(",")
        )

    return lambda wall: at_time(wall.hour, wall.minute) and on_date(wall.date()), "*" in (minute[0], hour[0])


def _in(term, value, low, high, names=(), first=0):
    span, _, step = term.partition("/")
    begin, dash, end = span.partition("-")
    read = lambda text: names.index(text) + first if text in names else int(text)  # noqa: E731
    if begin == "*":
        begin, end = low, high
    else:
        begin = read(begin)
        end = read(end) if dash else high if step else begin
    return begin <= value <= end and (value - begin) % int(step or 1) == 0


def _last_day(date):
    return calendar.monthrange(date.year, date.month)[1]


def _is_date(term, date):
    if term == "L":
        return date.day == _last_day(date)
    if term == "LW":
        rest = [date + timedelta(days=n) for n in range(1, _last_day(date) - date.day + 1)]
        return date.weekday() < 5 and all(later.weekday() >= 5 for later in rest)
    return _in(term, date.day, 1, 31)


def _is_weekday(term, date):
    sunday_first = (date.weekday() + 1) % 7
    nth = (date.day - 1) // 7 + 1
    if term.endswith("L"):
        return sunday_first == int(term[:-1]) % 7 and date.day + 7 > _last_day(date)
    if "#" in term:
        name, number = term.split("#")
        wanted = DAYS.index(name) if name in DAYS else int(name) % 7
        return sunday_first == wanted and nth == int(number)
    return any(_in(term, number, 0, 7, DAYS) for number in ({0, 7} if sunday_first == 0 else {sunday_first}))


# -- RRULE -----------------------------------------------------------------------------------------------------------------


def rrule(text, start):  # noqa: C901 - one closure for each sentence of the RFC
    """Return what fires by a rule from yearly to daily that begins at the wall time `start` (whole minutes)."""
    parts = dict(part.split("=") for part in text.split(";"))
    freq, interval = parts["FREQ"], int(parts.get("INTERVAL", 1))
    week_start = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].index(parts.get("WKST", "MO"))
    ints = lambda name: {int(word) for word in parts[name].split(",")} if name in parts else set()  # noqa: E731
    hours, minutes = ints("BYHOUR") or {start.hour}, ints("BYMINUTE") or {start.minute}
    bare = not {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY"} & parts.keys()
    positions = ints("BYSETPOS")

    def period(date):
        """Return the first day of the unit that a date lies in, and its number."""
        if freq == "YEARLY":
            return date.replace(month=1, day=1), date.year
        if freq == "MONTHLY":
            return date.replace(day=1), date.year * 12 + date.month
        if freq == "WEEKLY":
            first = date - timedelta(days=(date.weekday() - week_start) % 7)
            return first, first.toordinal() // 7
        return date, date.toordinal()

    @cache
    def on_date(date):
        if (period(date)[1] - period(start.date())[1]) % interval:
            return False
        if "BYMONTH" in parts and date.month not in ints("BYMONTH"):
            return False
        if bare and freq == "YEARLY" and "BYMONTH" not in parts and date.month != start.month:
            return False
        if bare and freq in {"YEARLY", "MONTHLY"} and date.day != start.day:
            return False
        if bare and freq == "WEEKLY" and date.weekday() != start.weekday():
            return False
        last = _last_day(date)
        if "BYMONTHDAY" in parts and not {date.day, date.day - last - 1} & ints("BYMONTHDAY"):
            return False
        of_year = date.timetuple().tm_yday
        length = 365 + calendar.isleap(date.year)
        if "BYYEARDAY" in parts and not {of_year, of_year - length - 1} & ints("BYYEARDAY"):
            return False
        if "BYWEEKNO" in parts and not _weeks(date, week_start) & ints("BYWEEKNO"):
            return False
        if "BYDAY" in parts:
            name = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"][date.weekday()]
            of, all_days = (of_year, length) if freq == "YEARLY" and "BYMONTH" not in parts else (date.day, last)
            spelled = {name, f"{(of - 1) // 7 + 1}{name}", f"{-((all_days - of) // 7 + 1)}{name}"}
            return bool(spelled & {word.lstrip("+") for word in parts["BYDAY"].split(",")})
        return True

    @cache
    def chosen(first):
        number, date, found = period(first)[1], first, []
        while period(date)[1] == number:
            if on_date(date):
                found += [(date, h, m) for h in sorted(hours) for m in sorted(minutes)]
            date += timedelta(days=1)
        return {place for n, place in enumerate(found) if {n + 1, n - len(found)} & positions}

    def fires(wall):
        if wall < start or wall.hour not in hours or wall.minute not in minutes or not on_date(wall.date()):
            return False
        return not positions or (wall.date(), wall.hour, wall.minute) in chosen(period(wall.date())[0])

    return fires


def _weeks(date, week_start):
    """Return the number of the date's week, and the same counted from the end of the week's year."""
    first = date - timedelta(days=(date.weekday() - week_start) % 7)
    year = (first + timedelta(days=3)).year
    starts = [
        day for day in _days_around(year) if day.weekday() == week_start and (day + timedelta(days=3)).year == year
    ]
    return {starts.index(first) + 1, starts.index(first) - len(starts)}


@cache
def _days_around(year):
    begin = datetime(year - 1, 12, 20, tzinfo=UTC).date()
    return [begin + timedelta(days=n) for n in range(390)]
