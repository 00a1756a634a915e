"""What the tests of clients have in common: values compared, refusals expected, checks made one after another."""

import time
import traceback

import numpy as np


def same(what, got, expected):
    """Fails where two values, or two arrays with their types, differ. Two numbers that are none are the same."""
    if isinstance(expected, np.ndarray):
        fits = isinstance(got, np.ndarray) and got.dtype == expected.dtype and got.shape == expected.shape
        fits = fits and (np.array_equal(got, expected) if expected.dtype == object else got.tobytes() == expected.tobytes())
    else:
        fits = type(got) is type(expected) and got == expected
    if not fits:
        raise ValueError(f"{what}: {short(got)} is not {short(expected)}")


def holds(what, got, *words):
    """Fails where a text lacks one of these words."""
    missing = [word for word in words if word.lower() not in str(got).lower()]
    if missing:
        raise ValueError(f"{what}: no {missing} in {short(got)}")


def true(what, fits, told=""):
    if not fits:
        raise ValueError(f"{what} {told}".rstrip())


def short(value):
    shape = f" {value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else ""
    text = repr(value)
    return (text if len(text) <= 400 else text[:400] + "...") + shape


def raised(what, kind, call, *arguments, **named):
    """The error of this kind that a call ends with."""
    try:
        got = call(*arguments, **named)
    except kind as error:
        return error
    raise ValueError(f"{what}: answered with {short(got)}, not refused")


def until(what, condition, seconds=20):
    """Asks again until a condition holds, and gives what it said. Fails once the time is over."""
    end = time.monotonic() + seconds
    while not (got := condition()):
        if time.monotonic() > end:
            raise ValueError(f"{what}: not within {seconds} s")
        time.sleep(0.01)
    return got


def run(checks):
    """Makes (name, check) one after another, whatever became of those before. The status to exit with."""
    failed = 0
    for name, check in checks:
        begun = time.monotonic()
        try:
            check()
        except Exception:  # noqa: BLE001 - whatever it is, the check failed with it
            failed += 1
            traceback.print_exc()
            print(f"{name}: FAILED", flush=True)
        else:
            print(f"{name}: {time.monotonic() - begun:.2f} s", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0
