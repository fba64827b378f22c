"""``clustnet evaluate --feedback``: score a model on the feedback that a service got on its answers."""

import argparse
from pathlib import Path

OPTION = "--feedback"
EXAMPLE = f"  clustnet evaluate {OPTION} feedback.sqlite --out reports/feedback\n"


def is_requested(arguments: list[str]) -> bool:
    """Return whether the command's arguments request scores of feedback."""
    return any(word == OPTION or word.startswith(f"{OPTION}=") for word in arguments)


def main(arguments: list[str]) -> None:
    """Run the command: print the scores and write the report.

    Raises:
        UserError: the file or the output folder cannot be used.
    """
    options = _parser().parse_args(arguments)
    # Imported here, so that --help stays quick.
    from evaluation.feedback.report import feedback_summary, write_feedback_report
    from evaluation.feedback.scoring import score_feedback
    from evaluation.report.report import PAGE, check_replaceable

    check_replaceable(options.out)
    scores = score_feedback(options.feedback)
    write_feedback_report(options.feedback, scores, options.out)
    for line in feedback_summary(scores):
        print(line)
    print(f"report: {options.out / PAGE}")


def _parser() -> argparse.ArgumentParser:
    """Return the arguments."""
    parser = argparse.ArgumentParser(
        prog="clustnet evaluate",
        description="Score a model on the images that a service got feedback on, and write a report.",
        epilog=f"example:\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    text = "the file that the service's CLUSTNET_FEEDBACK names; the service may go on writing it"
    parser.add_argument(OPTION, required=True, type=Path, metavar="FILE", help=text)
    text = "the report's folder; an earlier report is replaced"
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help=text)
    return parser
