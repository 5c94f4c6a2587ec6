"""The command line: its verbs, and what an error or Ctrl-C comes to. What a verb does stands in `tramtrack.commands`."""

from __future__ import annotations

import signal
import sys

import typer
from rich.console import Console

from tramtrack.commands.burden import associate, burden
from tramtrack.commands.cohort import audit, ingest, prepare, split
from tramtrack.commands.export import card, export
from tramtrack.commands.facts import networks, plan, policies, protocol
from tramtrack.commands.maps import explain, trust
from tramtrack.commands.node import listen, pull, queue
from tramtrack.commands.phantom import phantom_app
from tramtrack.commands.predict import calibrate, predict
from tramtrack.commands.runs import claim, evaluate, report, run, status, train
from tramtrack.commands.segment import segment
from tramtrack.commands.serve import serve
from tramtrack.commands.validate import pool, validate
from tramtrack.commands.weights import weights_app
from tramtrack.errors import TramtrackError, gpu_failure, out_of_memory

INTERRUPTED = "interrupted; what is finished is kept, and the same command goes on from there"

app = typer.Typer(
    name="tramtrack",
    help="Compare deep networks for breast arterial calcifications on mammograms. Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_STUDY = (ingest, audit, split, prepare, train, evaluate, claim, explain, trust, report, run, status)
_OF_MAPS = (segment, burden, associate)
_OF_NEW_EXAMS = (predict, calibrate, listen, queue, pull, serve)
_OF_OTHER_SITES = (export, card, validate, pool)
_OF_FACTS = (plan, networks, policies, protocol)
for verb in (*_STUDY, *_OF_MAPS, *_OF_NEW_EXAMS, *_OF_OTHER_SITES, *_OF_FACTS):
    app.command()(verb)
app.add_typer(phantom_app, name="phantom")
app.add_typer(weights_app, name="weights")


def main() -> None:
    """Run the command line: 0 done, 1 failed, 2 wrong usage; an expected failure is one line on standard error."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except TramtrackError as error:
        _fail(str(error), error.exit_code)
    except _Interrupted:
        _fail(INTERRUPTED, 1)
    except ImportError as error:  # a compiled module that was interrupted while it was imported says so
        if not _was_interrupted(error):
            raise
        _fail(INTERRUPTED, 1)
    except BrokenPipeError:
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        said, kept = out_of_memory(error), "what was finished before is kept"
        if said is not None:
            _fail(f"out of memory ({said}); {kept}; free some, or name another device (--device)", 1)
        said = gpu_failure(error)
        if said is None:
            raise
        _fail(f"the GPU failed ({said}); {kept}; name another device (--device cpu), or install a PyTorch made for it", 1)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; what was finished before is kept", 1)


class _Interrupted(BaseException):
    """Ctrl-C; no Exception, so that nothing on the way takes it for a failure of its own and goes on."""


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error, or behind what is behind it."""
    return error is not None and (isinstance(error, _Interrupted) or _was_interrupted(error.__cause__ or error.__context__))


def _interrupt(signal_number: int, frame: object) -> None:
    raise _Interrupted


def _fail(message: str, code: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"tramtrack: {message}", markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
