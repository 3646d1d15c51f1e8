"""Cron schedules: checking five fields, and turning words and intervals into them.

Source of the syntax: crontab(5) of Debian's cron.
"""

import datetime
import hashlib
import re

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
FIRST, YEARS = datetime.date(2024, 1, 1), 9  # looked at; from one 29 February past the next
WORDS = ("hourly", "daily", "weekly", "monthly", "yearly")
PART = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d{1,4}))?", re.ASCII)


def problem(schedule):
    """What is wrong with five cron fields, in words, or None.

    >>> problem("*/5 * * * *")
    >>> problem("61 * * * *")
    'minute 61 is not between 0 and 59'
    """
    fields = schedule.split()
    if len(fields) != 5:
        return f"it has {len(fields)} fields, not 5"
    for field, (title, low, high, names) in zip(fields, FIELDS):
        for part in field.split(","):
            wrong = _part_problem(part, title, low, high, names)
            if wrong:
                return wrong
    days, months, weekdays = fields[2:]
    one_day = days.isdigit() and months.isdigit() and weekdays == "*"
    if one_day and int(days) > LONGEST[int(months) - 1]:
        return f"month {int(months)} has no day {int(days)}"
    return None


def _part_problem(part, title, low, high, names):
    match = PART.fullmatch(part)
    if not match:
        return f"the {title} field is not cron syntax"
    first, last, step = match.groups()
    if first == "*":
        if last is not None:
            return f"the {title} field is not cron syntax"
    else:
        numbers = []
        for word in (first, last):
            if word is None:
                continue
            if word.lower() in names:
                numbers.append(names.index(word.lower()) + low)
            elif not word.isdigit() or len(word) > 4:
                return f"the {title} field is not cron syntax"
            elif not low <= int(word) <= high:
                return f"{title} {int(word)} is not between {low} and {high}"
            else:
                numbers.append(int(word))
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            return f"the {title} range runs backwards"
        if step is not None and last is None:
            return f"the {title} step needs a range or * before it"
    if step is not None and not 1 <= int(step) <= high:
        return f"{title} step {int(step)} is not between 1 and {high}"
    return None


def expand(schedule, name):
    """Five cron fields for a word or five fields.

    A word's minute (and hour, between 1 and 5 at night) follows from ``name``, so that the timers
    of many projects do not all start at once, and stay where they are when another is added.
    """
    if schedule not in WORDS:
        return schedule
    spread = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    minute, hour = spread % 60, 1 + spread // 60 % 5
    return {
        "hourly": f"{minute} * * * *",
        "daily": f"{minute} {hour} * * *",
        "weekly": f"{minute} {hour} * * 0",
        "monthly": f"{minute} {hour} 1 * *",
        "yearly": f"{minute} {hour} 1 1 *",
    }[schedule]


def longest_gap(schedule):
    """
    The most days (int) between two days of five cron fields; None where no day has them.

    >>> longest_gap("30 3 * * 0")
    7
    """
    _, _, days, months, weekdays = schedule.split()
    wanted = [
        _numbers(field, *FIELDS[place][1:])
        for place, field in enumerate((days, months, weekdays), 2)
    ]
    wanted[2] = {number % 7 for number in wanted[2]}
    # cron(8): two fields that both name days mean the days of either.
    either = not days.startswith("*") and not weekdays.startswith("*")
    gap, last = None, None
    for number in range(YEARS * 366):
        day = FIRST + datetime.timedelta(days=number)
        fits = (day.day in wanted[0], day.isoweekday() % 7 in wanted[2])
        if day.month in wanted[1] and (any(fits) if either else all(fits)):
            gap = max(gap or 0, number - last) if last is not None else gap
            last = number
    return gap


def _numbers(field, low, high, names):
    """What a field of cron stands for (set of int)."""
    found = set()
    for part in field.split(","):
        first, last, step = PART.fullmatch(part).groups()
        ends = [
            names.index(word.lower()) + low if word.lower() in names else int(word)
            for word in (first, last or first)
            if word != "*"
        ] or [low, high]
        found |= set(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


def every(seconds):
    """Five cron fields for an interval in seconds, or None when cron cannot say it evenly."""
    if seconds < 60 or seconds % 60:
        return None
    minutes = seconds // 60
    if minutes < 60:
        return f"*/{minutes} * * * *" if 60 % minutes == 0 else None
    if minutes % 60:
        return None
    hours = minutes // 60
    if hours < 24:
        return f"0 */{hours} * * *" if 24 % hours == 0 else None
    return "0 0 * * *" if hours == 24 else None
