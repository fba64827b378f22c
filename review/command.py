"""``clustnet review``: look at the subtypes of a run, name them and correct them, on a page or by commands."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clustnet.corrections.actions import NEW, AnyAction, parse
from clustnet.corrections.session import Session
from clustnet.errors import UserError
from review.run import Run, open_run
from review.splitting import split
from review.writers import FORMATS

FORMS = {
    "rename": "ok/1=grey coat",
    "merge": "ok/1,ok/3",
    "split": "ok/2=3",
    "move": "ok/cat_17.jpg=ok/2",
}
MARKS = {
    "wrong-label": "the image is not of its coarse label",
    "right-label": "the image is of its coarse label, so it is not a suspect",
    "outlier": "the image belongs to no subtype",
    "no-outlier": "the image belongs to its subtype",
    "duplicate": "the image is nearly identical to another one and is left out",
    "no-duplicate": "the image is not a duplicate",
}
NUMBER = re.compile("[0-9]{1,4}")


def main(arguments: Sequence[str]) -> None:
    """Do what the options say, or serve the page until it is stopped.

    Raises:
        UserError: there is no finished run, or an action cannot be done.
    """
    options = _parser().parse_args(arguments)
    if not options.run.is_dir():
        raise UserError(f"There is no run {options.run}; make one with 'clustnet discover IMAGES --out RUN'.")
    run = open_run(options.run)
    session = Session(options.run, run.found)
    verbs = options.verbs or []
    for verb, value in verbs:
        session.do([_action(verb, value, session, run)])
    if verbs or options.list:
        print(listing(session))
    if options.write:
        # Imported here, so that other commands are fast.
        from review.writing import write

        print(write(options.write[0], Path(options.write[1]), run, session.review))
    if not (verbs or options.list or options.write):
        # Imported here, so that commands are fast.
        from review.server import serve

        serve(run, session, options.host, options.port)


def _action(verb: str, value: str, session: Session, run: Run) -> AnyAction:
    """Return what an option does.

    Raises:
        UserError: its value has another form, or names a subtype that is not there.
    """
    review = session.review
    if verb in ("undo", "redo"):
        return parse({"verb": verb})
    if verb in MARKS:
        return parse({"verb": "mark", "files": [value], "mark": verb.replace("-", "_")})
    if verb == "merge":
        return parse({"verb": verb, "subtypes": [_id(word, session) for word in value.split(",")]})
    left, equals, right = value.partition("=") if verb == "rename" else value.rpartition("=")
    if not equals or (verb == "split" and not NUMBER.fullmatch(right)):
        raise UserError(f"--{verb} is {value!r}, but must have the form {FORMS[verb]!r}.")
    if verb == "rename":
        return parse({"verb": verb, "subtype": _id(left, session), "name": right})
    if verb == "split":
        return split(review, run.space, _id(left, session), int(right))
    label, _, last = right.rpartition("/")
    to = review.next_id(label) if last == NEW and label in review.found.labels else _id(right, session)
    return parse({"verb": verb, "files": [left], "to": to})


def _id(word: str, session: Session) -> str:
    """Return the id of a subtype that is named by its id or by its name."""
    word = word.strip()
    subtypes = session.review.subtypes
    return word if word in subtypes else next((one.id for one in subtypes.values() if one.name == word), word)


def listing(session: Session) -> str:
    """Return the subtypes as a table for a terminal."""
    review = session.review
    rows = [
        ("subtype", "name", "images"),
        *((one.id, one.name or "-", f"{len(review.members(one.id)):,}") for one in review.ordered()),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{name.ljust(widths[0])}  {title.ljust(widths[1])}  {images.rjust(widths[2])}" for name, title, images in rows
    )


class _Verb(argparse.Action):
    """Keeps the verbs of all options in their given order."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the verb of an option."""
        verb = (option_string or "").removeprefix("--")
        namespace.verbs = [*(namespace.verbs or []), (verb, values or "")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet review",
        description="View, name and correct the subtypes of a run on a local page, or with the options below.",
        epilog="Everything is kept in RUN/review.jsonl. 'clustnet export RUN --out BUNDLE' applies the "
        "names and corrections.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run of 'clustnet discover' or 'clustnet train'")
    page = parser.add_argument_group("the page, which opens if no verb is given")
    page.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    page.add_argument("--port", type=int, default=0, help="port to listen on (default: any free port)")
    verbs = parser.add_argument_group("verbs, carried out in the given order")
    for verb, form in FORMS.items():
        verbs.add_argument(f"--{verb}", action=_Verb, dest="verbs", metavar="WHAT", help=f"as in {form!r}")
    for mark in MARKS:
        verbs.add_argument(f"--{mark}", action=_Verb, dest="verbs", metavar="FILE", help=MARKS[mark])
    verbs.add_argument("--undo", action=_Verb, dest="verbs", nargs=0, help="undo the last action in force")
    verbs.add_argument("--redo", action=_Verb, dest="verbs", nargs=0, help="redo the last undone action")
    parser.add_argument("--list", action="store_true", help="print the subtypes")
    formats = ", ".join(FORMATS)
    parser.add_argument("--write", nargs=2, metavar=("FORMAT", "DIR"), help=f"write the images' subtypes: {formats}")
    return parser
